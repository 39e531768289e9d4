"""report.html and comparison.html: what judgements say, each in one file that needs nothing else."""

from medsynth.report.comparison import write_comparison
from medsynth.report.embedding_charts import Embedding
from medsynth.report.page import NearestPair, write_report

__all__ = ["Embedding", "NearestPair", "write_comparison", "write_report"]
