"""Evaluations of a stage's modules before and after it, on the held-out documents of its corpora."""

from stages.evals.model import Model
from stages.evals.run import COMPUTED, run
from stages.evals.whole import Whole

__all__ = ["COMPUTED", "Model", "Whole", "run"]
