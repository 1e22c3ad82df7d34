"""Rows that are not the declared ones stop the stage that reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.data.loading.loader import PhaseData
from stages.data.loading.sample import Sample
from stages.engines import run, training
from stages.spec.resolved import Model
from stages.spec.resolved_phases import ShareRamp
from tests.unit.data.small import Small, phase
from tests.unit.guards.small_stages import LLAMA, Patch, inputs, refused, stage
from tests.unit.train import tiny


def rows_changed(change: Callable[[int, list[Sample]], list[Sample]]) -> Patch:
    """A loader whose rows are changed on the way out."""

    class Changed(PhaseData):
        def samples(self, first: int, count: int, tail: int) -> list[Sample]:
            return change(first, super().samples(first, count, tail))

    return lambda patch: patch.setattr(training, "PhaseData", Changed)


def without_first_answer(_: int, rows: list[Sample]) -> list[Sample]:
    """The first supervised label of every run of them is dropped."""
    out = []
    for row in rows:
        labels = row.labels.copy()
        begins = np.flatnonzero((labels[1:] != -100) & (labels[:-1] == -100)) + 1
        labels[begins] = -100
        out.append(replace(row, labels=labels))
    return out


def repeated(first: int, rows: list[Sample], seen: dict[str, Sample]) -> list[Sample]:
    """The first row of the phase stands in place of the fifth, too."""
    seen.setdefault("row", rows[0])
    return [seen["row"], *rows[1:]] if first else rows


def doubled(_: int, rows: list[Sample]) -> list[Sample]:
    """BOS written over the token after BOS, as where template and tokenizer both add one."""
    out = []
    for row in rows:
        tokens = row.tokens.copy()
        tokens[1:][row.tokens[:-1] == 1] = 1
        out.append(replace(row, tokens=tokens))
    return out


READ: tuple[tuple[str, str, tuple[str, ...], dict[str, Any], Callable[[], Patch]], ...] = (
    ("I-18", "a row read twice", ("math",), {}, lambda: rows_changed(lambda f, r, seen={}: repeated(f, r, seen))),  # type: ignore[misc]
    ("I-20", "labels that lose the first answer token", ("reasoning",),
     {"objective": "sft", "packing": "whole", "context": 96}, lambda: rows_changed(without_first_answer)),
    ("I-20", "two BOS a document", ("math",), {}, lambda: rows_changed(doubled)),
    ("I-17", "rows that are not what their spans say", ("math",), {},
     lambda: rows_changed(lambda _, rows: [replace(row, tokens=np.roll(row.tokens, 1)) for row in rows])),
)  # fmt: skip


@pytest.mark.parametrize(("id", "defect", "corpora", "changes", "patch"), READ, ids=[one[1] for one in READ])
def test_wrongly_read_rows_stop_the_stage(
    id: str, defect: str, corpora: tuple[str, ...], changes: dict[str, Any], patch: Callable[[], Patch],
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made, given = stage(small, corpora, **changes), inputs(small, tmp_path)
    run(made.model_copy(update={"name": "right"}), replace(given, key="c" * 32))  # silent without the defect
    patch()(monkeypatch)
    assert id in refused(made, given)


def test_a_mixture_that_is_not_the_declared_one_stops_the_stage(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_sided(patch: pytest.MonkeyPatch) -> None:
        class Other(PhaseData):
            def __init__(self, made: Any, *args: Any) -> None:
                little = made.share.model_copy(update={"first": (1, 20), "last": (1, 20)})
                super().__init__(made.model_copy(update={"share": little}), *args)

        patch.setattr(training, "PhaseData", Other)

    sources = tuple(small.source(name) for name in ("math", "captions"))
    share = ShareRamp(first=(1, 2), last=(1, 2), over=0)
    mixed = phase(*sources, budget=4 * 4 * 96, context=96, objective="joint", share=share)
    modules: dict[str, Model] = {
        "llm": LLAMA,
        "vit": tiny.VIT.model_copy(update={"channels": 3}),
        "projector": tiny.PROJECTOR,
    }
    made = tiny.stage(modules, (mixed,), ("llm", "vit", "projector"), seed=3)
    run(made.model_copy(update={"name": "right"}), inputs(small, tmp_path, "c" * 32))
    one_sided(monkeypatch)
    assert refused(made, inputs(small, tmp_path)) == {"I-30"}


def test_what_was_read_survives_a_stop_in_the_middle(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resumed run hands on the same bytes as an undisturbed one."""
    made = stage(small)
    run(made, inputs(small, tmp_path / "whole"))

    class Failing(PhaseData):
        def samples(self, first: int, count: int, tail: int) -> list[Sample]:
            if first >= 16:
                raise RuntimeError("the machine goes away")
            return super().samples(first, count, tail)

    monkeypatch.setattr(training, "PhaseData", Failing)
    with pytest.raises(RuntimeError):
        run(made, inputs(small, tmp_path / "cut"))
    monkeypatch.setattr(training, "PhaseData", PhaseData)
    run(made, inputs(small, tmp_path / "cut"))
    place = "results/mini/tiny/box"
    for file in ("state/reads.json", "manifest.json"):
        assert (tmp_path / "whole" / place / file).read_bytes() == (tmp_path / "cut" / place / file).read_bytes()
