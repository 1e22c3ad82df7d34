"""Budgets in epochs: counted from what was measured of the corpora, the same number wherever specs are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.errors import SpecError
from stages.spec.project import Project
from stages.spec.resolved import Stage
from tests.edits import replaced, substituted
from tests.unit.spec.small_project import edit
from tests.unit.spec.tuning import tuned

FIRST, PIPELINE = "toy/first.yaml", "toy/pipeline.yaml"


def first(root: Path) -> Stage:
    return Project.load(root).resolve("toy", "paper").stages["first"]


def refused(root: Path) -> SpecError:
    with pytest.raises(SpecError) as caught:
        first(root)
    return caught.value


@pytest.fixture
def two(root: Path) -> Path:
    """`first` reads 640 rows of 128 tokens twice."""
    tuned(root, "2 epochs", longest=700, rows=640, tokens=75_000)
    edit(root, FIRST, "    epochs: 1\n", "")
    return root


def test_epochs_are_rows(two: Path) -> None:
    (phase,) = first(two).phases
    assert (phase.budget, phase.epochs, phase.packing) == (2 * 640 * 128, 2, "fixed")
    (source,) = phase.sources
    assert (source.start, source.end) == (0, 80_000)


def test_the_key_depends_on_the_epochs_and_on_the_rows(two: Path) -> None:
    keys = [Project.load(two).resolve("toy", "paper").keys["first"]]
    for old, new in (("2 epochs", "3 epochs"), ("3 epochs", "3epoch")):
        edit(two, FIRST, f"budget: {old}", f"budget: {new}")
        keys.append(Project.load(two).resolve("toy", "paper").keys["first"])
    edit(two, "data/chats.yaml", "rows: 640", "rows: 641")
    keys.append(Project.load(two).resolve("toy", "paper").keys["first"])
    assert keys[1] == keys[2]
    assert len(set(keys)) == 3


def test_epochs_may_be_repeated_but_not_contradicted(two: Path) -> None:
    edit(two, FIRST, "budget: 2 epochs\n", "budget: 2 epochs\n    epochs: 2\n")
    assert first(two).phases[0].epochs == 2
    line = edit(two, FIRST, "    epochs: 2\n", "    epochs: 1\n") + 0
    error = refused(two)
    assert (error.where.line, error.key) == (line, "phases.0.epochs")
    assert error.found == "1 beside a budget of 2 epochs"


def test_a_schedule_may_count_in_epochs_of_the_phase(two: Path) -> None:
    pieces = "linear, from: 0, to: 1e-3, for: 0.5 epochs}\n    - {shape: cosine, to: 0, for: 1.5 epochs}"
    edit(two, PIPELINE, "constant, from: 1e-3, until: 1T}", pieces)
    schedule = first(two).schedule
    assert schedule is not None
    assert [piece.end for piece in schedule.pieces] == [320 * 128, 2 * 640 * 128]


def test_a_schedule_cannot_count_in_epochs_of_tokens(root: Path) -> None:
    edit(root, PIPELINE, "to: 1e-3, for: 100 steps", "to: 1e-3, for: 1 epoch")
    error = refused(root)
    assert error.key == "schedules.main.0.for"
    assert error.found == "epochs, although a phase that reads it has its budget in tokens"


def test_text_that_is_replayed_takes_its_share_of_rows_and_ends_nothing(two: Path) -> None:
    edit(two, "data/mixtures.yaml", "share: 100%, group: text}", "share: 80%, group: text}\n"
         "      - {corpus: prose, share: 20%, group: text}")  # fmt: skip
    (phase,) = first(two).phases
    samples = phase.budget // 128
    assert samples == int((2 * 640 - 1) / 0.8)  # one row less than an epoch: turns are taken in whole rows
    assert {source.corpus: source.end for source in phase.sources}["chats"] == 80_000
    assert {source.corpus: source.end for source in phase.sources}["prose"] < 80_000


def test_the_corpus_that_ends_first_ends_the_epoch(two: Path) -> None:
    text = replaced((two / "specs/data/chats.yaml").read_text(), "corpus: chats", "corpus: more", "640", "900")
    (two / "specs/data/more.yaml").write_text(substituted(text, r"digest: ..", "digest: ef"))
    edit(two, "data/mixtures.yaml", "share: 100%, group: text}", "share: 50%, group: text}\n"
         "      - {corpus: more, share: 50%, group: text}")  # fmt: skip
    assert first(two).phases[0].budget // 128 == 2 * (2 * 640 - 1)


WRONG = [
    ("packing: whole", "packing: concatenate", "phases.0.packing", "concatenate", "whole, in tokens"),
    ("2 epochs", "1.5 epochs", "phases.0.budget", "'1.5 epochs'", "epochs"),
    ("2 epochs", "0 epochs", "phases.0.budget", "'0 epochs'", "epochs"),
    ("data: tuning", "data: web", "phases.0.data", "kind text, which has no answers", "kind sft"),
]


@pytest.mark.parametrize(("old", "new", "key", "found", "allowed"), WRONG, ids=[one[1] for one in WRONG])
def test_what_cannot_be_counted_is_refused_at_its_line(
    two: Path, old: str, new: str, key: str, found: str, allowed: str
) -> None:
    line = edit(two, FIRST, old, new)
    error = refused(two)
    assert (error.where.file, error.where.line, error.key) == (f"specs/{FIRST}", line, key)
    assert found in error.found
    assert allowed in error.allowed


def test_a_context_whose_rows_nobody_measured_is_refused_at_the_budget(two: Path) -> None:
    line = edit(two, FIRST, "context: 128", "context: 96") - 1
    error = refused(two)
    assert (error.where.line, error.key) == (line, "phases.0.budget")
    assert "no row of 96 tokens was measured" in error.found
    assert error.allowed == "contexts of its `packed` (128)"
    assert "`stages data chats --accept`" in error.repair


def test_a_published_corpus_has_no_rows_that_anybody_counted(two: Path) -> None:
    edit(two, "scales/paper.yaml", "corpora: stand_in", "corpora: published")
    edit(two, "data/mixtures.yaml", "corpus: chats", "corpus: crawl")
    edit(
        two,
        "data/published.yaml",
        "{kind: text, citation: somewhere, stand_in: code}",
        "{kind: text, citation: no, stand_in: code}",
    )
    edit(two, "data/published.yaml", "crawl: {kind: text", "crawl: {kind: sft")
    assert "a published corpus whose rows nobody has counted" in refused(two).found


def test_a_second_epoch_in_another_phase_would_read_again_what_was_read(two: Path) -> None:
    text = (two / "specs" / FIRST).read_text()
    phase = text[text.index("  - name: short\n") : text.index("sources:")]
    (two / "specs" / FIRST).write_text(replaced(text, "sources:", f"{replaced(phase, 'short', 'again')}sources:"))
    assert "of whose 80000 tokens 80000 are read before" in refused(two).found


@pytest.mark.parametrize("stage", ["first", "'*'"])
def test_what_a_scale_says_of_epochs_is_for_budgets_in_tokens(two: Path, stage: str) -> None:
    edit(two, "scales/mini.yaml", "context: 1/64", f"context: 1\n    epochs: {{{stage}: 3}}")
    (phase,) = Project.load(two).resolve("toy", "mini").stages["first"].phases
    assert (phase.budget, phase.epochs) == (2 * 640 * 128, 2)


@pytest.mark.parametrize("parts", [("0.3", "1.7"), ("0.1", "0.1", "0.1", "1.7"), ("0.333", "0.667", "1")])
def test_parts_of_epochs_add_up_to_the_token(two: Path, parts: tuple[str, ...]) -> None:
    edit(two, "data/chats.yaml", "rows: 640", "rows: 639")
    pieces = "}\n    - {shape: constant, for: ".join(f"{part} epochs" for part in parts)
    edit(two, PIPELINE, "constant, from: 1e-3, until: 1T}", f"constant, from: 1e-3, for: {pieces}}}")
    schedule = first(two).schedule
    assert schedule is not None
    assert schedule.pieces[-1].end == 2 * 639 * 128
