"""report.html: what a judgement says, in one file that needs nothing else."""

from medsynth.report.embedding_charts import Embedding
from medsynth.report.page import NearestPair, write_report

__all__ = ["Embedding", "NearestPair", "write_report"]
