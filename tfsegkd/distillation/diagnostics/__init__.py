"""Checks before training: whether distillation can work, and how strongly each term counts."""
