"""Augmentations of training images."""

FLIPS = ("none", "horizontal", "vertical", "both")
