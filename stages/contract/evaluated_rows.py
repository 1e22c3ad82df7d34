"""How many rows each evaluation reads, and how long they are: for `stages.evals`, and for plans, without torch."""

from __future__ import annotations

from stages.spec.resolved import Evaluation

FULL_NUMBER = 256  # up to this length a row is read `samples` times; longer rows are fewer, for as many tokens in all
FEWEST_FULL, FEWEST_ANSWERS = 2, 4  # rows of a corpus: where every token is supervised, and where only answers are
FEWEST_LONG = 4  # rows in which the loss by position is measured
FEWEST_NEEDLES = 2  # stretches of text in which every depth is tried
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a needle in its row
REPLIES = 8  # greedy replies; each token costs a forward pass over the prompts, so they are few and the shortest
LONGEST = 256  # tokens of prompt and reference; a corpus that has none so short is asked for its answers' loss only
SLACK = 1.5  # a reply may be this much longer than the longest of the reference replies
IMAGES_AT_ONCE = 64
# A share of right answers needs more of them than a loss does: at least so many pairs and questions are read for one,
# whatever the scale's number of samples (standard error 3% and 5% of a coin toss).
LEAST_PAIRS, LEAST_QUESTIONS = 256, 96


def count(evaluation: Evaluation, length: int, fewest: int) -> int:
    """How many rows of a length are read: about as many tokens at every length, and `fewest` rows."""
    return min(evaluation.samples, max(fewest, evaluation.samples * FULL_NUMBER // length))


def haystacks(evaluation: Evaluation, length: int) -> int:
    """Stretches of text of a length in which a needle is searched for, each once for every depth."""
    return max(FEWEST_NEEDLES, count(evaluation, length, FEWEST_NEEDLES) // len(DEPTHS))


def needle_lengths(evaluation: Evaluation) -> list[int]:
    """Lengths of the rows with a needle: parts of the context, and the parent's context where the stage extends it."""
    context, old = evaluation.context, evaluation.old_context
    return sorted({context // 4, context // 2, context} | ({old} if old and old < context else set()))
