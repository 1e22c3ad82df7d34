"""Held-out pairs of answers: which of the two the model itself finds more probable."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from stages.data.document import EOS, IM_END
from stages.data.tokens.preference import BEGINS
from stages.errors import UserError
from stages.evals import Whole, run
from stages.evals.heldout import Heldout
from tests.unit.evals.stages_by_hand import made, preferring


@pytest.mark.parametrize("answers", ["sum", "mean"])
@pytest.mark.parametrize("ends", ["learned", "masked"])
def test_the_margin_is_that_of_each_conversation_read_alone(heldout: Heldout, answers: str, ends: str) -> None:
    of = preferring(answers, ends)
    modules = made(of)
    lm: Any = modules["llm"]
    margins = []
    corpus = heldout.corpus("preferences")
    assert corpus.supervised is not None
    for document in list(heldout.documents("preferences"))[:5]:
        where = slice(*corpus.offsets[document : document + 2].tolist())
        tokens, mask = (torch.tensor(part[where].tolist()) for part in (corpus.tokens, corpus.supervised))
        middle, found = int((mask == BEGINS).nonzero()), []
        for side in (slice(0, middle), slice(middle, len(tokens))):
            ids, learned = tokens[side], mask[side] == 1
            if ends == "masked":
                learned &= (ids != IM_END) & (ids != EOS)
            with torch.no_grad():
                hidden = lm(ids[None, :-1], torch.arange(len(ids) - 1)[None], None, None)
                logp = F.log_softmax(lm.logits(hidden)[0].double(), -1).gather(1, ids[1:, None])[:, 0]
            chosen = logp[learned[1:]]
            found.append(float(chosen.mean() if answers == "mean" else chosen.sum()))
        margins.append(found[0] - found[1])
    result = run(Whole(of, modules), of, heldout)["preferences"]
    assert result["pairs"] == 5
    assert result["margin"] == pytest.approx(sum(margins) / 5, rel=1e-4, abs=1e-5)
    assert result["accuracy"] == sum(margin > 0 for margin in margins) / 5


def test_a_tie_is_not_won(heldout: Heldout) -> None:
    """A model that finds every token as probable as any other."""
    of = preferring("mean")
    modules = made(of)
    with torch.no_grad():
        modules["llm"].head.zero_()
    found = run(Whole(of, modules), of, heldout)["preferences"]
    assert (found["accuracy"], found["margin"]) == (0.0, 0.0)


def test_pairs_that_fit_no_row_are_left_out_and_none_at_all_is_an_error(heldout: Heldout) -> None:
    of = preferring("sum", context=8)
    with pytest.raises(UserError, match="no held-out pair has two answers of at most 8 tokens"):
        run(Whole(of, made(of)), of, heldout)
