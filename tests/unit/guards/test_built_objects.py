"""The real engine on a tiny stage with one thing built or done wrongly: the guard stops it, nothing is put in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.data.loader import PhaseData
from stages.data.sample import Sample
from stages.engines import Inputs, received, run, training
from stages.guards.findings import GuardError
from stages.models import hf
from stages.models.rotary import Rotary
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import Llama3Scaling, Rope
from stages.spec.resolved_phases import ShareRamp
from stages.store import attempts, manifest
from stages.store.manifest import Parent
from stages.train import loop
from stages.train.optimizer import Optimizer
from tests.unit.data.small import Small, phase
from tests.unit.train import tiny

BUDGET = 7 * 4 * 32 + 40  # seven steps, and one of a row and a quarter
LLAMA = tiny.LLAMA.model_copy(update={"vocab": 300})
Patch = Callable[[pytest.MonkeyPatch], None]


def stage(small: Small, corpora: tuple[str, ...] = ("math",), **changes: Any) -> Stage:
    """A language model on prepared corpora, and a projector that stays frozen beside it."""
    sources = tuple(small.source(name) for name in corpora)
    made = phase(*sources, budget=BUDGET, **changes)
    modules = {"llm": LLAMA, "projector": tiny.PROJECTOR}
    return tiny.stage(modules, (made,), ("llm",), seed=3)


def inputs(small: Small, root: Path, key: str = "a" * 32) -> Inputs:
    return replace(tiny.inputs(root, key), data_root=small.data)


def child(parent: Stage, small: Small, root: Path, **changes: Any) -> tuple[Stage, Inputs]:
    """A stage that takes over the finished parent's model and optimizer, on the same data read again."""
    ref = f"tiny/{parent.name}"
    found, digest = manifest.read_with_digest(inputs(small, root).layout.manifest(ref))
    init = Init(weights="inherit", parent=ref, release=None, optimizer="inherit", layer_map=None, stand_in=False)
    fields = {"name": "child", "parents": (ref,), "init": dict.fromkeys(parent.modules, init)}
    built = replace(inputs(small, root, "b" * 32), parents={ref: Parent(key=found.key, manifest=digest)})
    return parent.model_copy(update=fields | changes), built


def refused(made: Stage, given: Inputs) -> set[str]:
    """The ids that stop the stage. The attempt has failed with them, and nothing is in place."""
    with pytest.raises(GuardError) as error:
        run(made, given)
    (folder, *_) = attempts.folders(given.layout, given.key)
    recorded = attempts.finding(folder)
    assert recorded is not None
    assert all(one.id in recorded.message for one in error.value.findings)
    assert recorded.repeats, "a rerun of the same spec builds the same"
    assert not given.layout.stage(f"tiny/{made.name}").exists()
    return {one.id for one in error.value.findings}


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


def old_rate(patch: pytest.MonkeyPatch) -> None:
    """An optimizer whose group keeps the rate of the run before."""
    patch.setattr(Optimizer, "rates", lambda self, lr: dict.fromkeys(self._steps, 3e-4))


def stepped_twice(patch: pytest.MonkeyPatch) -> None:
    """A scheduler that moves whenever it is asked."""
    asked, real = iter(range(1000)), loop.learning_rate
    patch.setattr(loop, "learning_rate", lambda stage, clock: real(stage, clock) * (1 + next(asked)))


def restarted_late(patch: pytest.MonkeyPatch) -> None:
    """A schedule that begins anew after a few steps."""
    real = loop.learning_rate
    patch.setattr(loop, "learning_rate", lambda stage, clock: real(stage, clock if clock < 500 else clock - 400))


def received_then(change: Callable[[Any], None]) -> Patch:
    def apply(patch: pytest.MonkeyPatch) -> None:
        real = received.receive

        def receive(*args: Any) -> Any:
            modules = real(*args)
            change(modules)
            return modules

        patch.setattr(received, "receive", receive)

    return apply


def other_base(modules: Any) -> None:
    modules["llm"].rotary = Rotary(Rope(base=500_000.0, llama3=None, interpolation=1.0), LLAMA.head_dim)


def unscaled(modules: Any) -> None:
    modules["llm"].rotary = Rotary(tiny.ROPE, LLAMA.head_dim)


@torch.no_grad()
def one_weight_again(modules: Any) -> None:
    modules["llm"].lm_head.weight[0, 0] += 1e-3


def frozen_moves(patch: pytest.MonkeyPatch) -> None:
    """Something outside of the optimizer writes into a frozen module."""
    real = Optimizer.step
    frozen: list[Any] = []
    received_then(lambda modules: frozen.append(modules["projector"]))(patch)

    def step(self: Optimizer, *args: Any) -> None:
        real(self, *args)
        with torch.no_grad():
            next(frozen[0].parameters()).mul_(0.999)

    patch.setattr(Optimizer, "step", step)


def nothing_moves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Optimizer, "step", lambda self, gradients, lr: None)


def not_frozen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(training, "freeze", lambda stage, modules: None)


FRESH: tuple[tuple[str, str, Patch], ...] = (
    ("I-01", "a group left at the old rate", old_rate),
    ("I-02", "a schedule that moves when it is asked", stepped_twice),
    ("I-02", "a schedule that begins anew", restarted_late),
    ("I-11", "a base changed after the model was built", received_then(other_base)),
    ("I-34", "a frozen module that moves", frozen_moves),
    ("I-34", "a trained module that does not", nothing_moves),
    ("I-34", "a frozen module that takes gradients", not_frozen),
)


@pytest.mark.parametrize(("id", "defect", "patch"), FRESH, ids=[one[1] for one in FRESH])
def test_a_wrongly_built_object_stops_the_stage(
    id: str, defect: str, patch: Patch, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch(monkeypatch)
    assert id in refused(stage(small), inputs(small, tmp_path))


def test_scaling_that_does_nothing_stops_the_stage(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received_then(unscaled)(monkeypatch)
    scaled = Rope(base=10_000.0, llama3=Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=64), interpolation=2.0)
    assert refused(stage(small).model_copy(update={"rope": scaled}), inputs(small, tmp_path)) == {"I-13"}


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
    modules = {"llm": LLAMA, "vit": tiny.VIT.model_copy(update={"channels": 3}), "projector": tiny.PROJECTOR}
    made = tiny.stage(modules, (mixed,), ("llm", "vit", "projector"), seed=3)
    run(made.model_copy(update={"name": "right"}), inputs(small, tmp_path, "c" * 32))
    one_sided(monkeypatch)
    assert refused(made, inputs(small, tmp_path)) == {"I-30"}


def moments_zeroed(patch: pytest.MonkeyPatch) -> None:
    real = Optimizer.load

    def load(self: Optimizer, *args: Any) -> None:
        real(self, *args)
        for moment in self._moments.values():
            moment.zero_()

    patch.setattr(Optimizer, "load", load)


def moments_not_loaded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Optimizer, "load", lambda self, *args: None)


def weights_not_loaded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hf, "load", lambda module, folder, paths: None)


HANDED: tuple[tuple[str, str, Patch], ...] = (
    ("I-15", "moments set to zero after they were loaded", moments_zeroed),
    ("I-15", "moments that are dropped on load", moments_not_loaded),
    ("I-15", "weights that are not loaded", weights_not_loaded),
    ("I-15", "one weight touched after it was loaded", received_then(one_weight_again)),
    ("I-12", "the parent's base wins over the child's", received_then(other_base)),
)


@pytest.mark.parametrize(("id", "defect", "patch"), HANDED, ids=[one[1] for one in HANDED])
def test_a_broken_hand_over_stops_the_child(
    id: str, defect: str, patch: Patch, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = stage(small)
    run(parent, inputs(small, tmp_path))
    made, given = child(parent, small, tmp_path)
    patch(monkeypatch)
    assert id in refused(made, given)


def test_a_child_that_reads_what_its_parent_read_is_stopped_unless_its_data_restarts(
    small: Small, tmp_path: Path
) -> None:
    parent = stage(small)
    run(parent, inputs(small, tmp_path))
    made, given = child(parent, small, tmp_path)
    assert refused(made.model_copy(update={"data": "continue"}), given) == {"I-18"}
    run(made, given)


def test_a_config_with_another_context_is_not_put_in_place(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hf.save
    monkeypatch.setattr(hf, "save", lambda m, cfg, rope, context, *rest: real(m, cfg, rope, context and 8, *rest))
    assert refused(stage(small), inputs(small, tmp_path)) == {"I-14"}


def test_a_config_with_another_base_is_not_put_in_place(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, other = hf.save, Rope(base=500_000.0, llama3=None, interpolation=1.0)
    monkeypatch.setattr(hf, "save", lambda m, cfg, rope, *rest: real(m, cfg, rope and other, *rest))
    assert refused(stage(small), inputs(small, tmp_path)) == {"I-14"}


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
