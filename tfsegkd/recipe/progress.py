"""Checkpoints from which an interrupted training resumes with the same result."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from tfsegkd._keras import keras
from tfsegkd.atomic import put_in_place, sha256

_KEPT = 2
_SUMS = "checksums.json"
# TensorFlow's errors for files that cannot be written.
_DISK = (
    tf.errors.ResourceExhaustedError,
    tf.errors.PermissionDeniedError,
    tf.errors.FailedPreconditionError,
    tf.errors.DataLossError,
    tf.errors.OutOfRangeError,  # a limit of the size of files
    tf.errors.UnknownError,
)


@contextlib.contextmanager
def resumable_randomness() -> Iterator[None]:
    """Builds networks whose dropout uses generators that `Progress` can save.

    By default dropout uses a counter in TensorFlow's kernels, which restarts in every process.
    """
    backend = keras.backend.experimental
    before = backend.is_tf_random_generator_enabled()
    backend.enable_tf_random_generator()
    try:
        yield
    finally:
        if not before:
            backend.disable_tf_random_generator()


class Progress:
    """The checkpoints of one training: weights, optimizer, random generators, and the number of epochs.

    Each is a directory with the checksums of its files, renamed into place when it is complete. The last two
    are kept, in case one is damaged.

    Args:
        directory: The directory of the checkpoints.
        trainer: A compiled model.
        others: Further objects with a state, by name.
    """

    def __init__(self, directory: Path, trainer: keras.Model, **others: tf.Variable | tf.Module):
        trainer.optimizer.build(trainer.trainable_variables)
        self._directory = Path(directory)
        self._checkpoint = tf.train.Checkpoint(
            model=trainer, optimizer=trainer.optimizer, generators=_generators(trainer), **others
        )

    def restore(self) -> int:
        """Restores the last intact checkpoint, if there is one; returns the number of epochs.

        Raises:
            ValueError: if the checkpoint has other objects.
        """
        for path in sorted(self._directory.glob("epoch_*"), reverse=True):
            damage = fault(path)
            if damage is None:
                self._read(path)
                return int(path.name.removeprefix("epoch_"))
            print(f"  checkpoint {str(path)!r} is damaged and is skipped: {damage}", flush=True)
        return 0

    def _read(self, path):
        status = self._checkpoint.read(str(path / "state"))
        try:
            status.assert_existing_objects_matched()
        except AssertionError as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"The checkpoint {str(path)!r} does not hold all that this training keeps. Expected one of "
                f"this version, with the same network, terms and options (such as `ema`). Received: {reason} "
                f"Choose another `output_dir`, or delete {str(path.parent)!r} to start again."
            ) from error

    def save(self, epochs_done: int) -> None:
        """Writes a checkpoint.

        Raises:
            OSError: if the disk is full; earlier checkpoints are kept.
        """
        path = self._directory / f"epoch_{epochs_done:06d}"
        temporary = self._directory / f".{path.name}.{os.getpid()}.tmp"
        try:
            try:
                self._checkpoint.write(str(temporary / "state"))
            except _DISK as error:
                raise OSError(f"Cannot write the checkpoint {str(path)!r}: {error.message}") from error
            sums = {file.name: sha256(file) for file in temporary.iterdir()}
            (temporary / _SUMS).write_text(json.dumps(sums), encoding="utf-8")
            put_in_place(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for old in sorted(self._directory.glob("epoch_*"))[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def _generators(model):
    """Returns the random generators of layers, which Keras does not save in checkpoints."""
    layers = [
        layer for layer in model.submodules if isinstance(layer, keras.__internal__.layers.BaseRandomLayer)
    ]
    return [layer._random_generator._generator for layer in layers if layer._random_generator._generator]


def fault(path: Path) -> str | None:
    """Returns what is wrong with a checkpoint; None if it is intact."""
    try:
        for name, expected in json.loads((path / _SUMS).read_text(encoding="utf-8")).items():
            if sha256(path / name) != expected:
                return f"{name} was changed"
    except (OSError, ValueError, AttributeError) as error:
        return str(error)
    return None
