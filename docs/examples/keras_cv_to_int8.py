"""A network of keras-cv, or one of Keras 3, becomes an int8 file for the phone.

    python docs/examples/keras_cv_to_int8.py

TF-MOT refuses such networks, because they are made of models within models. `adopt` opens them and checks
that they compute what they did; `quantize` makes them int8, operation by operation.
"""

import keras_cv

import tfsegkd
from tfsegkd.data.road_scenes import RoadScenes

SIZE = (32, 64)
scenes = RoadScenes("train", height=SIZE[0], width=SIZE[1], num_images=16)

# A toy. In its place: keras_cv.models.DeepLabV3Plus.from_preset(…), keras.models.load_model("mine.keras"), …
backbone = keras_cv.models.ResNetBackbone(
    stackwise_filters=[8, 8, 16, 16],
    stackwise_blocks=[1, 1, 1, 1],
    stackwise_strides=[1, 2, 2, 2],
    include_rescaling=True,
    input_shape=(*SIZE, 3),
)
theirs = keras_cv.models.DeepLabV3Plus(backbone=backbone, num_classes=scenes.info.num_classes)

model, adoption = tfsegkd.models.adopt(theirs)
print(f"{adoption.keras}: opened {len(adoption.opened)} models, output differs by {adoption.difference:.1g}")

# A few frames say how large the activations get. Fine-tuning wins back what 8 bits cost.
batches = list(tfsegkd.data.evaluation_batches(scenes, SIZE, batch_size=8))
quantized = tfsegkd.quantization.quantize(model, calibration=[images for images, _ in batches])
report = tfsegkd.export.export_tflite(quantized, "keras_cv_int8.tflite", metadata=scenes.info, overwrite=True)
print(
    f"{report.path}: {report.file_bytes:,} bytes, {len(report.float_ops)} operations in float, "
    f"{report.latency_ms:.2f} ms"
)
verified = tfsegkd.export.verify(
    report.path, quantized, (images.numpy() for images, _ in batches), layers=False
)
print(f"same class as the Keras network in {100 * verified.int8_agreement:.1f} % of the pixels")
