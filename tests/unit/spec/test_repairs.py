"""What to write instead: a value in a unit of another kind, and what YAML makes of a comma or of a missing blank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stages.errors import InvalidSpecs
from stages.spec import units, validate
from stages.spec.project import Project
from stages.spec.quantities import BadQuantity
from tests.unit.spec.mistakes import MINI, PIPELINE, SECOND, resolve_everything
from tests.unit.spec.small_project import edit

SHARE = "a share of a budget is written as the tokens that it comes to"


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (units.number, "10%", "Write 0.1."),
        (units.number, "95%", "Write 0.95."),
        (units.number, "3 steps", "Leave out the unit 'steps'."),
        (units.ratio, "20%", "Write 0.2."),
        (units.length, "3%", SHARE),
        (units.length, "0.03", SHARE),
        (units.budget, "10%", SHARE),
        (units.length, "1.5", "Write a whole number of them."),
        (units.budget, "60GB", "Write 60B: GB and MB are units of memory."),
        (units.budget, "60 MB", "Write 60M: "),
        (units.budget, "60G", "Write 60B."),
        (units.budget, "60bn", "Write 60B."),
        (units.budget, "60kB", "Write 60K."),
        (units.budget, "0.06TB", "Write 0.06T."),
        (units.megabytes, "1500G", "Write 1500 GB."),
        (units.megabytes, "2T", "Use the unit 'GB' or 'MB'."),
        (units.minutes, "2-00:00:00", "Write 48 h."),
        (units.minutes, "48:30:00", "Write 2910 min."),
        (units.minutes, "48:00", "Write a number and its unit."),  # hours, or minutes and seconds
    ],
)
def test_a_unit_of_another_kind(read: Callable[[object], object], text: str, says: str) -> None:
    with pytest.raises(BadQuantity) as caught:
        read(text)
    assert says in caught.value.repair


@pytest.mark.parametrize(
    ("file", "old", "new", "key", "says"),
    [
        (PIPELINE, "beta2: 0.95", "beta2: 0,95", "optimizers.adamw.95", "Write decimals with a point"),
        (PIPELINE, "{shape: cosine", "{shape:cosine", "schedules.main.1.shape:cosine", "`shape: cosine`"),
        (PIPELINE, "shape: cosine", "shape: cosin", "schedules.main.1.shape", "Did you mean 'cosine'?"),
        (PIPELINE, "shape: cosine", "shape: sqrt", "schedules.main.1.shape", "Did you mean '1-sqrt'?"),
        (PIPELINE, "shape: cosine", "shape: step", "schedules.main.1.shape", "Choose one of these."),
        (SECOND, "packing: concatenate", "packing: concat", "phases.0.packing", "Did you mean 'concatenate'?"),
        (MINI, "engine_class: torch-fp32", "engine_class: torch-fp8", "engine_class", "Choose one of these."),
        (MINI, "device: cpu", "device: gpu", "device", "Write `cuda`."),
        (PIPELINE, "clip: 1.0", "clip: ~", "optimizers.adamw.clip", "Write none, or a number."),
        (PIPELINE, "beta1: 0.9", "beta1: ~", "optimizers.adamw.beta1", "Write a quantity."),
        (SECOND, "kind: train\n", "", "kind", "Add `kind: ...`."),
        (SECOND, "stage: second\n", "", "stage", "Add `stage: second`."),
        (SECOND, "llama3: none, ", "", "rope.llama3", "Add `llama3: none`, or `llama3: {factor: ...,"),
        (PIPELINE, ", clip: 1.0", "", "optimizers.adamw.clip", "Add `clip: "),
        # its likeliest key is there already
        (PIPELINE, "family: llama", "family: olmo2", "models.small.head_dim", "Use one of these, or remove it."),
        (PIPELINE, "for: 100 steps", "for: 1B steps", "schedules.main.0.for", "Leave out `steps`: it is a length in t"),
        (PIPELINE, "for: 100 steps", "for: 10000 steps", "schedules.main.0.for", "Write the length in tokens: "),
        (PIPELINE, "kind: adamw, beta1: 0.9", "kind: adamw, beta1:,", "YAML syntax", "each with a value"),
    ],
)
def test_what_was_meant(root: Path, file: str, old: str, new: str, key: str, says: str) -> None:
    line = edit(root, file, old, new)
    line = 1 if old.endswith("\n") else line  # a key at the top that is gone
    with pytest.raises(InvalidSpecs) as caught:
        resolve_everything(root)
    (error,) = [one for one in caught.value.errors if one.key == key]
    assert error.where.line == line
    assert says in error.repair


def test_where_there_is_nothing_to_choose_from_nothing_is_offered(root: Path) -> None:
    document = Project.load(root).files.document(root / "specs/data/published.yaml")
    none = validate.unknown_name(document, ("corpora", "books", "stand_in"), "corpus", "prose", iter(()))
    assert (none.allowed, none.repair) == ("none, since none is declared", "Declare it.")
    one = validate.unknown_name(document, ("corpora", "books", "stand_in"), "corpus", "prose", iter(("tales",)))
    assert (one.allowed, one.repair) == ("tales", "Use one of these, or remove it.")
