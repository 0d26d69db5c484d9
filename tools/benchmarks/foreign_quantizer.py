"""Quantizes a float .tflite with ai-edge-quantizer: foreign_quantizer.py FLOAT.tflite IMAGES.npy INT8.tflite.

Runs in an environment of its own, which has that package and nothing of this one.
"""

import importlib
import sys

import numpy as np


def main(float_path: str, images_path: str, output_path: str) -> None:
    package = "ai_edge_quantizer"
    quantizer = importlib.import_module(f"{package}.quantizer")
    recipe = importlib.import_module(f"{package}.recipe")
    litert = importlib.import_module("ai_edge_litert.interpreter")
    signatures = litert.Interpreter(model_path=float_path).get_signature_list()
    key, ends = next(iter(signatures.items()))
    images = np.load(images_path).astype(np.float32)
    result = quantizer.Quantizer(float_path, recipe.static_wi8_ai8())
    ranges = result.calibrate({key: [{ends["inputs"][0]: image[None]} for image in images]})
    result.quantize(ranges).export_model(output_path, overwrite=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
