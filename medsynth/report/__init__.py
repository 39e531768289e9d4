"""report.html: what a judgement says, in one file that needs nothing else."""

from medsynth.report.page import NearestPair, write_report

__all__ = ["NearestPair", "write_report"]
