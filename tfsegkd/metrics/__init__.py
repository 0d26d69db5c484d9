"""Metrics of segmentation."""

from tfsegkd.metrics.agreement import agreement
from tfsegkd.metrics.confusion import MeanIoU, confusion_matrix, iou, mean_iou, pixel_accuracy
from tfsegkd.metrics.labels import labels_at

__all__ = ["MeanIoU", "agreement", "confusion_matrix", "iou", "labels_at", "mean_iou", "pixel_accuracy"]
