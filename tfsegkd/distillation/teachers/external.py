"""Teachers other than Keras networks: functions and SavedModels."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfsegkd import models
from tfsegkd.distillation.teachers.base import Teacher, Wrapper, checked_logits, digest, fixed, resized
from tfsegkd.distillation.terms import LOGITS


class FunctionTeacher(Teacher):
    """A TensorFlow function from images to logits, or to a dictionary of outputs by layer name.

    Args:
        function: Takes (N, H, W, 3), float32, 0…255.
        name: Identifies the function in a cache of its outputs. Use another name when the function changes.
    """

    def __init__(self, function: Callable, name: str | None = None):
        self._function = function
        self._chosen_name = name
        self.name = name or getattr(function, "__name__", type(function).__name__)

    def feature_extractor(self, names):
        names = list(names)

        def run(images):
            outputs = self._function(tf.cast(images, tf.float32))
            outputs = dict(outputs) if isinstance(outputs, dict) else {LOGITS: outputs}
            for layer in names:
                if layer not in outputs:
                    raise ValueError(
                        f"Layer {layer!r} not found in teacher {self.name!r}. Expected one of "
                        f"{list(outputs)}. Set it in `terms=loss@teacher_layer:student_layer`."
                    )
            if LOGITS in names:
                outputs[LOGITS] = checked_logits(outputs[LOGITS], images, self.name, models.heads.UNKNOWN)
            return {layer: tf.convert_to_tensor(outputs[layer]) for layer in names}

        return run

    def fingerprint(self):
        if self._chosen_name is None:
            raise ValueError(
                f"The function {self.name!r} has no weights that identify it. Name it: "
                f"load_teacher(function, name='…'), with another name when it changes."
            )
        return digest("function", self._chosen_name)


class SavedModelTeacher(FunctionTeacher):
    """A SavedModel not saved by Keras: its 'serving_default' signature, or the object if it is callable.

    Images are resized to the input size of the signature, if it is fixed.

    Args:
        path: The directory.
        output: The output of the signature that is the logits; not needed if there is only one.

    Raises:
        ValueError: for a directory that cannot be loaded, or other inputs or outputs.
    """

    def __init__(self, path: str | os.PathLike, output: str | None = None):
        self._path, self._output = Path(path), output
        try:
            self._model = tf.saved_model.load(os.fspath(path))
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            first = str(error).strip().split("\n")[0]
            raise ValueError(
                f"Cannot load {os.fspath(path)!r} as a SavedModel: {first} Export it again."
            ) from error
        signatures = getattr(self._model, "signatures", {})
        if "serving_default" in signatures:
            function = self._from_signature(signatures["serving_default"])
        elif callable(self._model):
            function = self._model
        else:
            raise ValueError(
                f"The SavedModel {os.fspath(path)!r} has no signature 'serving_default' and is not callable. "
                f"Signatures there: {list(signatures)}. Save it with signatures={{'serving_default': …}}."
            )
        super().__init__(function, name=self._path.name)

    def _from_signature(self, signature):
        inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
        if len(inputs) != 1:
            raise ValueError(
                f"The SavedModel {str(self._path)!r} must take images alone. Received: inputs "
                f"{sorted(inputs)}. Save a function of the images."
            )
        chosen = chosen_output(list(outputs), self._output, str(self._path))
        ((name, spec),) = inputs.items()
        if spec.shape.rank is not None:
            if spec.shape.rank != 4 or spec.shape[0] is not None or spec.shape[3] not in (3, None):
                raise ValueError(
                    f"The SavedModel {str(self._path)!r} must take images (None, H, W, 3). Received: "
                    f"{spec.shape}. Save it with such an input."
                )
            self.input_size = fixed(spec.shape[1:3])

        def run(images):
            images = resized(images, self.input_size)
            if spec.dtype.is_integer:
                images = tf.round(images)
            return signature(**{name: tf.cast(images, spec.dtype)})[chosen]

        return run

    def fingerprint(self):
        files = sorted(file for file in self._path.rglob("*") if file.is_file())
        contents = (part for file in files for part in (file.relative_to(self._path).as_posix(), _hash(file)))
        return digest("saved model", self._output or "", *contents)


def _hash(file: Path) -> str:
    return digest(file.read_bytes())


def chosen_output(outputs: Sequence[str], chosen: str | None, what: str) -> str:
    """Returns the output that is the logits.

    Raises:
        ValueError: if there are several and none is chosen, or none has that name.
    """
    if chosen is None and len(outputs) == 1:
        return outputs[0]
    if chosen not in outputs:
        raise ValueError(
            f"The logits of {what} are not known. Expected one of the outputs {sorted(outputs)}. Received: "
            f"output={chosen!r}. Choose one with load_teacher(…, output='…')."
        )
    return chosen


class Normalized(Wrapper):
    """A teacher whose input is (pixel − mean) / deviation.

    Args:
        teacher: The teacher.
        mean: One number, or one per color channel.
        deviation: One number above 0, or one per color channel.
    """

    def __init__(self, teacher: Teacher, mean: float | Sequence[float], deviation: float | Sequence[float]):
        super().__init__(teacher)
        self._mean, self._deviation = np.asarray(mean, np.float32), np.asarray(deviation, np.float32)
        for values in (self._mean, self._deviation):
            if (
                values.shape not in ((), (3,))
                or not np.isfinite(values).all()
                or not (self._deviation > 0).all()
            ):
                raise ValueError(
                    f"normalize must be (mean, deviation), each a number or three, the deviation above 0. "
                    f"Received: ({mean}, {deviation})."
                )

    def feature_extractor(self, names):
        run = self.teacher.feature_extractor(names)
        return lambda images: run((tf.cast(images, tf.float32) - self._mean) / self._deviation)

    def fingerprint(self):
        numbers = (self._mean.tolist(), self._deviation.tolist())
        return digest("normalized", self.teacher.fingerprint(), str(numbers))

    def scaled(self, scale):
        return Normalized(self.teacher.scaled(scale), self._mean, self._deviation)
