"""Annotations as labelling tools export them."""
