"""A built-in, procedural data set of road scenes: no files, no download."""

from tfsegkd.data.road_scenes.source import RoadScenes

__all__ = ["RoadScenes"]
