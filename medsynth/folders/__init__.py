"""Folders of images as `evaluate` judges them: image files, NIfTI volumes and DICOM series, paired or not."""

from medsynth.folders.pairs import pair_findings
from medsynth.folders.subject import folder_subject

__all__ = ["folder_subject", "pair_findings"]
