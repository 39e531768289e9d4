"""Judging image sets: one file a metric family; suite.py runs them all in one pass over the images."""
