"""Evaluations of a stage's modules before and after it, on the held-out documents of its corpora."""

from stages.evals.run import COMPUTED, run

__all__ = ["COMPUTED", "run"]
