"""Segments one image with MediaPipe's ImageSegmenter. Runs in an environment of its own.

Usage: mediapipe_segment.py MODEL.tflite IMAGE.npy ANSWER.npz

MediaPipe resizes an image to the network's size; give it one of that size, so that nothing is resized.
"""

import sys

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision


def main(model: str, image_path: str, answer_path: str) -> None:
    options = vision.ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=model),
        output_category_mask=True,
        output_confidence_masks=True,
    )
    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.load(image_path))
    with vision.ImageSegmenter.create_from_options(options) as segmenter:
        result = segmenter.segment(image)
        confidences = [mask.numpy_view() for mask in result.confidence_masks]
        np.savez(
            answer_path,
            labels=np.array(segmenter.labels),
            category=np.squeeze(result.category_mask.numpy_view()),
            confidences=np.stack([np.squeeze(one) for one in confidences], axis=-1),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
