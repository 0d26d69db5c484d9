"""Teacher outputs for every training image, computed once and stored on disk."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfsegkd.atomic import write_atomically, write_json
from tfsegkd.data import Augmentation, Source, resize_image
from tfsegkd.data.transforms import crop_of_map
from tfsegkd.deprecation import renamed_arguments
from tfsegkd.distillation.teachers import Teacher
from tfsegkd.distillation.terms import LOGITS
from tfsegkd.progress_bar import counted

_BATCH = 8
_FORM = 1  # of the files; a cache of another form is not read


@renamed_arguments(taps="layers")
class TeacherCache(Teacher):
    """A teacher whose outputs are read from disk, so that distillation costs as much as plain training.

    The teacher runs twice per image, on the image and on its mirror image.
    `tfsegkd.data.training_batches(maps=cache)` then applies the same scale, crop and flip to image, mask and
    outputs. Because the teacher runs only once, it may be slow: of a larger input than the student's,
    averaged over views, or an ensemble.

    The constructor computes the missing outputs and keeps existing ones, so that an interrupted recording
    continues. Each image and layer is a file, float16 with checksums.

    Args:
        directory: The directory of the files.
        teacher: The teacher to record. It gets images of its own input size; one that cuts windows, or whose
            members resize images themselves, gets them as large as the source has them.
        source: The images.
        size: (height, width) of the images that the student is trained on; logits are stored at this size.
        layers: The layers of the teacher to record; 'logits' is its output.
        teacher_size: (height, width) of the images for any other teacher, `size` by default; if given, also
            of those that would be as large as the source has them.

    Attributes:
        map_shapes: (h, w, C) of each layer, for a whole image.
        names: The names of the images.
        added: The number of images that the constructor computed.

    Raises:
        ValueError: if the directory contains the outputs of another teacher, of other images or for another
            size; if an output is not finite in float16.
        OSError: if the disk has too little space, before anything is computed.

    Example:
        recorded = distillation.TeacherCache("cache", distillation.load_teacher(teacher), source, (32, 48))
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
        self.name, self.names = teacher.name, tuple(source.names)
        self.directory = Path(directory)
        self._fingerprint = teacher.fingerprint()
        self._image_size = tuple(size)
        own = teacher.size or teacher.input_size
        fed_size = tuple(own or teacher_size or teacher.size_for(source, size))
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
                f"The cache {str(self.directory)!r} was opened without the layers {missing}. Expected some "
                f"of {sorted(self.map_shapes)}. Open it with layers={sorted({*self.map_shapes, *missing})}."
            )
        return {
            name: (
                *crop_of_map(self.map_shapes[name][:2], self._image_size, image_shape[:2]),
                self.map_shapes[name][2],
            )
            for name in names
        }

    def read(self, index: int, mirrored: bool = False) -> dict[str, np.ndarray]:
        """Returns the recorded outputs for one image, or those for its mirror image, mirrored back.

        Raises:
            ValueError: for a file that is damaged or missing; the message names it.
        """
        return {
            layer: self._read(layer, index, "mirrored" if mirrored else "plain") for layer in self.map_shapes
        }

    def inexact(self, augmentation: Augmentation) -> list[str]:
        """Returns the reasons why recorded outputs differ from those for augmented images."""
        reasons = []
        if (augmentation.min_scale, augmentation.max_scale) != (1, 1):
            reasons.append(
                f"scaling by {augmentation.min_scale}–{augmentation.max_scale}: the teacher got unscaled "
                f"images"
            )
        if any((augmentation.brightness, augmentation.contrast, augmentation.saturation, augmentation.hue)):
            reasons.append("color jitter: the teacher got the original colors")
        return reasons

    def _read(self, layer, index, view):
        path = self._path(layer, index)
        try:
            with np.load(path, allow_pickle=False) as archive:
                values = archive[view]  # reading it compares the archive's checksum
            if values.shape != self.map_shapes[layer] or values.dtype != np.float16:
                raise ValueError(f"it contains {values.shape} {values.dtype}")
        except Exception as error:  # a damaged archive can raise nearly anything
            raise ValueError(
                f"{str(path)!r} of the teacher cache is damaged: {error}. Expected float16 of shape "
                f"{self.map_shapes[layer]}. Delete it and run again: missing files are computed again."
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
                f"Layer {layer!r} of teacher {self.name!r} has values up to {np.abs(values).max()} for image "
                f"{name!r}. Expected finite float16 values, up to 65504. Distil another layer, "
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
                f"The teacher cache {str(self.directory)!r} needs {needed / 1e6:,.0f} MB. Free space: "
                f"{free / 1e6:,.0f} MB. Free some space, choose another directory, or train without the "
                f"cache."
            )
