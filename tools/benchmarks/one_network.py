"""What measures one network in a process of its own: the network, its images, and the answer step by step."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import foreign
from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.atomic import write_json

_STRIDE = 32  # of others' networks


def answer(measure: Callable[[dict, Callable[..., None]], None]) -> None:
    """Calls `measure` with the request in the file that the command line names first.

    The answer, in the file that it names second, is written again after each step, so that one who is stopped
    has told what it knew.

    Args:
        measure: (request, note); hands figures to `note` by name.
    """
    request_path, answer_path = map(Path, sys.argv[1:])
    known = {}

    def note(**figures):
        known.update(figures)
        write_json(answer_path, known)

    measure(json.loads(request_path.read_text()), note)


def build(network: str, num_classes: int, shape: tuple[int, int, int]) -> keras.Model:
    """The network; one of others is adopted, at the next size whose halves meet again."""
    if network not in foreign.NETWORKS:
        return models.build(network, num_classes, shape)
    height, width = (math.ceil(side / _STRIDE) * _STRIDE for side in shape[:2])
    model, _ = models.adopt(foreign.NETWORKS[network]((height, width, shape[2]), num_classes))
    return model


def smooth_images(shape: tuple[int, int, int]) -> np.ndarray:
    """Two smooth images of raw pixels."""
    noise = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    return tf.image.resize(noise, shape[:2]).numpy()
