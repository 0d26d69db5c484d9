"""What a teacher shows of every frame, computed once and kept on disk."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfsegkd.atomic import write_atomically, write_json
from tfsegkd.data import Augmentation, Source, resize_image
from tfsegkd.data.transforms import crop_of_map
from tfsegkd.distillation.teachers import Teacher
from tfsegkd.distillation.terms import LOGITS
from tfsegkd.progress_bar import counted

_BATCH = 8
_FORM = 1  # of the files; a cache of another form is not read


class TeacherCache(Teacher):
    """A teacher whose outputs are read from disk, so that distillation costs what plain training costs.

    The teacher sees every frame twice, as it is and in a mirror. `tfsegkd.data.training_batches(maps=cache)`
    then gives image, mask and outputs the same scale, crop and flip. Because the teacher runs only here, it
    may be slow: fed with finer frames than the student, averaged over views, or an ensemble.

    Opening it computes what is missing and keeps what is there, so an interrupted run goes on. Each frame
    and layer is a file of its own, float16 with checksums.

    Args:
        directory: Where the files lie.
        teacher: What is recorded. It sees frames at the size that it was made for, else at `teacher_size`.
        source: The frames.
        size: (height, width) of the frames that the student is trained on; the logits are kept at this size.
        layers: What to record, layers of the teacher; 'logits' is what it gives out.
        teacher_size: (height, width) at which a teacher that takes any size sees the frames; `size` unless
            given.

    Attributes:
        map_shapes: (h, w, C) of each layer, for a whole frame.
        added: How many frames were computed at opening.

    Raises:
        ValueError: if the directory holds the outputs of another teacher, of other frames or for another
            size; if an output is not finite in float16.
        OSError: if the disk cannot hold it; nothing is begun then.
    """

    recorded = True

    def __init__(
        self,
        directory: str | Path,
        teacher: Teacher,
        source: Source,
        size: tuple[int, int],
        layers: Sequence[str] = (LOGITS,),
        teacher_size: tuple[int, int] | None = None,
    ):
        self.name = teacher.name
        self.directory = Path(directory)
        self._fingerprint = teacher.fingerprint()
        self._image_size = tuple(size)
        fed_size = tuple(teacher.size or teacher.input_size or teacher_size or size)
        self._check_key(
            {
                "form": _FORM,
                "teacher": self._fingerprint,
                "frames": source.fingerprint(),
                "examples": len(source),
                "size": list(size),
                "teacher_size": list(fed_size),
            }
        )
        self.map_shapes = teacher.shapes(sorted(layers), (*fed_size, 3))
        if LOGITS in self.map_shapes:
            self.map_shapes[LOGITS] = (*self._image_size, self.map_shapes[LOGITS][-1])
        self.added = self._fill(teacher, source, fed_size)

    def fingerprint(self) -> str:
        return self._fingerprint

    def feature_extractor(self, names):
        raise ValueError(
            f"The recorded outputs of teacher {self.name!r} come with the batches. Train on "
            f"tfsegkd.data.training_batches(..., maps=cache)."
        )

    def shapes(self, names, image_shape):
        missing = sorted({*names} - {*self.map_shapes})
        if missing:
            raise ValueError(
                f"The cache {str(self.directory)!r} was opened without the layers {missing}. Expected some of "
                f"{sorted(self.map_shapes)}. Open it with layers={sorted({*self.map_shapes, *missing})}."
            )
        return {
            name: (
                *crop_of_map(self.map_shapes[name][:2], self._image_size, image_shape[:2]),
                self.map_shapes[name][2],
            )
            for name in names
        }

    def read(self, index: int, mirrored: bool = False) -> dict[str, np.ndarray]:
        """What was recorded of one frame, or of the mirrored frame, mirrored back.

        Raises:
            ValueError: for a file that is damaged or missing; the message names it.
        """
        return {
            layer: self._read(layer, index, "mirrored" if mirrored else "plain") for layer in self.map_shapes
        }

    def inexact(self, augmentation: Augmentation) -> list[str]:
        """Why the outputs that are read differ from those of a teacher that sees the varied frames itself."""
        reasons = []
        if (augmentation.min_scale, augmentation.max_scale) != (1, 1):
            reasons.append(
                f"scaling by {augmentation.min_scale}–{augmentation.max_scale}: it saw frames unscaled"
            )
        if any((augmentation.brightness, augmentation.contrast, augmentation.saturation, augmentation.hue)):
            reasons.append("color jitter: it saw the frames' own colors")
        return reasons

    def _read(self, layer, index, view):
        path = self._path(layer, index)
        try:
            with np.load(path, allow_pickle=False) as archive:
                values = archive[view]  # reading it compares the archive's checksum
            if values.shape != self.map_shapes[layer] or values.dtype != np.float16:
                raise ValueError(f"it holds {values.shape} {values.dtype}")
        except Exception as error:  # a damaged archive can raise nearly anything
            raise ValueError(
                f"{str(path)!r} of the teacher cache is damaged: {error}. Expected float16 of shape "
                f"{self.map_shapes[layer]}. Delete it and run again: what is missing is computed anew."
            ) from error
        return values

    def _path(self, layer, index):
        return self.directory / layer.replace("/", ".") / f"{index:06d}.npz"

    def _check_key(self, key):
        manifest = self.directory / "manifest.json"
        try:
            found = json.loads(manifest.read_text(encoding="utf-8"))
        except FileNotFoundError:
            write_json(manifest, key)
            return
        except (ValueError, RecursionError):
            found = None
        changed = [name for name in key if not isinstance(found, dict) or found.get(name) != key[name]]
        if changed:
            raise ValueError(
                f"The teacher cache {str(self.directory)!r} was recorded with another "
                f"{' and another '.join(changed)}. Expected {key}. Received: {found}. Delete it or choose "
                f"another directory."
            )

    def _fill(self, teacher, source, fed_size) -> int:
        missing = [
            index
            for index in range(len(source))
            if not all(self._path(layer, index).exists() for layer in self.map_shapes)
        ]
        if not missing:
            return 0
        self._check_space(len(missing))
        network = tf.function(teacher.feature_extractor(sorted(self.map_shapes)), reduce_retracing=True)
        for start in counted(range(0, len(missing), _BATCH), "recording the teacher"):
            indices = missing[start : start + _BATCH]
            images = np.stack([resize_image(source[index][0], fed_size) for index in indices])
            images = tf.constant(images, tf.float32)
            plain, mirrored = network(images), network(tf.reverse(images, [2]))
            for layer in self.map_shapes:
                views = (
                    self._at_training_size(layer, plain[layer]),
                    self._at_training_size(layer, tf.reverse(mirrored[layer], [2])),
                )
                for index, *values in zip(indices, *views, strict=True):
                    self._write(layer, index, values, source.names[index])
        return len(missing)

    def _at_training_size(self, layer, values):
        if layer == LOGITS and tuple(values.shape[1:3]) != self._image_size:
            values = tf.image.resize(values, self._image_size, antialias=True)
        return values.numpy()

    def _write(self, layer, index, values, name):
        with np.errstate(over="ignore"):
            plain, mirrored = (value.astype(np.float16) for value in values)
        if not (np.isfinite(plain).all() and np.isfinite(mirrored).all()):
            raise ValueError(
                f"Layer {layer!r} of teacher {self.name!r} gives up to {np.abs(values).max()} for frame "
                f"{name!r}. Expected finite values that float16 can hold, up to 65504. Distil another layer, "
                f"or train without the cache."
            )
        write_atomically(
            self._path(layer, index), lambda temporary: np.savez(temporary, plain=plain, mirrored=mirrored)
        )

    def _check_space(self, count):
        needed = count * sum(4 * int(np.prod(shape)) for shape in self.map_shapes.values())
        free = shutil.disk_usage(self.directory).free
        if needed > free:
            raise OSError(
                f"The teacher cache {str(self.directory)!r} needs {needed / 1e6:,.0f} MB. Free on this disk: "
                f"{free / 1e6:,.0f} MB. Make room, choose another directory, or train without the cache."
            )
