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
from tfsegkd.data.load import describe, load, names
from tfsegkd.data.mask_batches import labels_of
from tfsegkd.data.masks import read_mask
from tfsegkd.data.pipeline import evaluation_batches, mixed_batches, training_batches
from tfsegkd.data.resize import resize_image, resize_mask
from tfsegkd.data.source import IGNORE_LABEL, UNLABELLED, DatasetInfo, Source, spread
from tfsegkd.data.statistics import DatasetStatistics, dataset_statistics
from tfsegkd.data.transforms import NO_AUGMENTATION, Augmentation
from tfsegkd.data.unlabelled import UnlabelledImages, WithoutLabels
from tfsegkd.data.video import VIDEO_SUFFIXES, video_frames
from tfsegkd.deprecation import renamed_names

__all__ = [
    "IGNORE_LABEL",
    "NO_AUGMENTATION",
    "UNLABELLED",
    "VIDEO_SUFFIXES",
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
    "labels_of",
    "load",
    "mixed_batches",
    "names",
    "read_colors",
    "read_image",
    "read_labels",
    "read_mask",
    "resize_image",
    "resize_mask",
    "spread",
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
