"""Images and masks: data sets by name, augmentation, batches."""

from tfsegkd.data import camvid as _camvid  # noqa: F401  (files its data set)
from tfsegkd.data import cityscapes as _cityscapes  # noqa: F401
from tfsegkd.data import folder as _folder  # noqa: F401
from tfsegkd.data import road_scenes as _road_scenes  # noqa: F401
from tfsegkd.data import tfds as _tfds  # noqa: F401
from tfsegkd.data import voc as _voc  # noqa: F401
from tfsegkd.data.annotations import coco as _coco  # noqa: F401
from tfsegkd.data.annotations import cvat as _cvat  # noqa: F401
from tfsegkd.data.annotations import label_studio as _label_studio  # noqa: F401
from tfsegkd.data.annotations import labelme as _labelme  # noqa: F401
from tfsegkd.data.annotations import roboflow as _roboflow  # noqa: F401
from tfsegkd.data.annotations import yolo as _yolo  # noqa: F401
from tfsegkd.data.images import read_image
from tfsegkd.data.labels import distinct_colors, read_colors, read_labels
from tfsegkd.data.load import describe, load, names, register
from tfsegkd.data.mask_batches import labels_of as labels_of
from tfsegkd.data.masks import read_mask
from tfsegkd.data.pipeline import evaluation_batches, training_batches
from tfsegkd.data.pipeline import mixed_batches as mixed_batches
from tfsegkd.data.resize import resize_image, resize_mask
from tfsegkd.data.source import IGNORE_LABEL, UNLABELLED, DatasetInfo, Source
from tfsegkd.data.source import same_fingerprint as same_fingerprint
from tfsegkd.data.source import spread as spread
from tfsegkd.data.statistics import DatasetStatistics, dataset_statistics
from tfsegkd.data.transforms import NO_AUGMENTATION, Augmentation
from tfsegkd.data.unlabelled import UnlabelledImages, WithoutLabels
from tfsegkd.data.video import VIDEO_SUFFIXES as VIDEO_SUFFIXES
from tfsegkd.data.video import video_frames
from tfsegkd.deprecation import renamed_names

# Imported under their own names: what other packages use, and users do not.
__all__ = [
    "IGNORE_LABEL",
    "NO_AUGMENTATION",
    "UNLABELLED",
    "Augmentation",
    "DatasetInfo",
    "DatasetStatistics",
    "Source",
    "UnlabelledImages",
    "WithoutLabels",
    "dataset_statistics",
    "describe",
    "distinct_colors",
    "evaluation_batches",
    "load",
    "names",
    "read_colors",
    "read_image",
    "read_labels",
    "read_mask",
    "register",
    "resize_image",
    "resize_mask",
    "training_batches",
    "video_frames",
]

__getattr__ = renamed_names(
    __name__,
    {
        "Survey": "DatasetStatistics",
        "UnlabelledFrames": "UnlabelledImages",
        "survey": "dataset_statistics",
    },
)
