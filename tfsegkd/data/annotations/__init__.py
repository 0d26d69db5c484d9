"""Data sets from the exports of labelling tools."""
