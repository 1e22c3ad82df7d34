"""Preference training on this engine is that of the torch engine from the same parent, however answers are divided."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from stages.check.findings import Finding
from stages.engines import Inputs, torch_engine, training
from stages.guards.report import PairReport
from stages.spec.resolved import Init, Stage
from stages.store import json_file, manifest
from stages.store.layout import Layout as Results
from tests.nemo import engines
from tests.nemo.engines import Layout, Left, layout
from tests.nemo.ranks import RankError
from tests.nemo.test_resume import same
from tests.unit.train import tiny

pytestmark = pytest.mark.slow
PARENT, KEY = "tiny/base", "b" * 32
INIT = Init(weights="inherit", parent=PARENT, release=None, optimizer="reset", layer_map=None, stand_in=False)
PARENTS = {"llama": "next_token", "moonlight": "moe"}
FIRST, ANY, WEIGHTS = 1e-6, 5e-6, 2e-5  # as in tests/nemo/test_engine.py: losses of step 1 and of any, and weights
COLUMNS = ("margin", "accuracy", "chosen_ratio", "rejected_ratio")
LAYOUTS = (
    ("llama", layout()),
    ("llama", layout(2, pp=2, vpp=2)),
    ("llama", layout(4, cp=2, distributed_optimizer=True)),
    ("moonlight", layout(4, pp=2, ep=2)),
)  # further ones: tests/nemo/parity.py


def parent(model: str) -> Stage:
    own = tiny.make(PARENTS[model])
    modules = {name: cfg.model_copy(update={"layers": 4}) for name, cfg in own.modules.items()}
    return own.model_copy(update={"name": "base", "modules": modules})


def preferring(model: str = "llama", **settings: Any) -> Stage:
    """Eight steps on pairs, of which the last one is a row and a half: a replica or a micro-batch has blank rows."""
    stage, own = tiny.make("preference"), parent(model)
    changes = {"preference": tiny.PREFERENCE.model_copy(update=settings), "router": own.phases[0].router}
    return stage.model_copy(
        update={
            "init": {"llm": INIT}, "parents": (PARENT,), "modules": own.modules, "optimizer": own.optimizer,
            "phases": (stage.phases[0].model_copy(update=changes),),
        }
    )  # fmt: skip


@dataclass(frozen=True)
class Given:
    """A project in which the parent is trained."""

    root: Path

    def copied(self, to: Path) -> Inputs:
        shutil.copytree(self.root, to)
        return replace(tiny.inputs(to, KEY), parents=manifest.parents(Results(to, "mini"), {PARENT: "a" * 32}))


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Given]:
    made: dict[str, Given] = {}

    def of(model: str) -> Given:
        if model not in made:
            root = tmp_path_factory.mktemp(model)
            by_torch(parent(model), tiny.inputs(root), "tiny/base")
            made[model] = Given(root)
        return made[model]

    return of


@pytest.fixture(scope="module")
def wanted(given: Callable[[str], Given], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Left]:
    """What the torch engine makes of it."""
    made: dict[str, Left] = {}

    def of(model: str = "llama", **settings: Any) -> Left:
        name = f"{model} {settings}"
        if name not in made:
            inputs = given(model).copied(tmp_path_factory.mktemp("torch") / "copy")
            made[name] = by_torch(preferring(model, **settings), inputs)
        return made[name]

    return of


def by_torch(stage: Stage, inputs: Inputs, ref: str = "tiny/box") -> Left:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PhaseData", tiny.Data)
        torch_engine.run(stage, inputs)
    return engines.left(inputs, ref)


def agrees(found: Left, known: Left) -> None:
    """Every step's loss, and what it is made of: as far apart as losses of other objectives are, of a column's size."""
    assert engines.exact(found) == engines.exact(known)
    assert found.rows[0].keys() == known.rows[0].keys()
    assert [float(found.rows[0][column]) for column in COLUMNS] == [0.0] * 4
    assert float(found.rows[0]["loss"]) == pytest.approx(float(known.rows[0]["loss"]), rel=FIRST)
    for column in ("loss", "chosen_nll", *COLUMNS):
        if column in found.rows[0]:
            one, other = ([float(row[column]) for row in left.rows] for left in (found, known))
            assert one == pytest.approx(other, rel=0, abs=ANY * max(map(abs, other))), column
    assert engines.apart(found.weights, known.weights) < WEIGHTS


def noting_the_pair(path: Path) -> Callable[[], None]:
    """Write down what I-49 compares of a pair after the last update."""

    def disturb() -> None:
        from stages.guards import preference

        exchanged = preference._exchanged

        def noted(stage: Stage, pair: PairReport) -> Iterator[Finding]:
            json_file.write(path, [pair.ratios, pair.policy, pair.reference])
            return exchanged(stage, pair)

        preference._exchanged = noted

    return disturb


@pytest.mark.parametrize(("model", "where"), LAYOUTS, ids=str)
def test_losses_margins_and_weights_are_the_torch_engines(
    model: str, where: Layout, given: Callable[[str], Given], wanted: Callable[..., Left], tmp_path: Path
) -> None:
    inputs, other = given(model).copied(tmp_path / "copy"), wanted(model)
    engines.run(engines.on_nemo(preferring(model), where), inputs, noting_the_pair(tmp_path / "pair"))
    agrees(engines.left(inputs), other)
    assert float(other.rows[-1]["margin"]) > 1
    ratios, policy, reference = json_file.read(tmp_path / "pair")
    assert ratios == pytest.approx([one - another for one, another in zip(policy, reference, strict=True)], abs=1e-5)
    assert ratios[0] > 0 > ratios[1]


def test_other_losses_are_the_torch_engines_too(
    given: Callable[[str], Given], wanted: Callable[..., Left], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"loss": "apo_zero", "answers": "mean", "beta": 5.0, "nll": 0.0}
    inputs, other = given("llama").copied(tmp_path / "copy"), wanted("llama", **settings)
    engines.run(engines.on_nemo(preferring(**settings), layout(2, tp=2)), inputs)
    found = engines.left(inputs)
    assert float(found.rows[0]["loss"]) == 0, "where policy and reference are one"
    known = Left([{**other.rows[0], "loss": found.rows[0]["loss"]}, *other.rows[1:]], other.weights, other.state)
    agrees(found, known)


def read_frozen(inputs: Inputs) -> Any:
    return json_file.read(inputs.layout.stage("tiny/box") / "run.json")["read_frozen"]


def reading_ahead() -> None:
    """As beside a GPU: the next step's rows are read on a thread."""
    from stages.train import prefetch

    prefetch.helps = lambda device: True


def test_stopped_and_run_again_it_has_every_bit_and_the_parent_as_its_reference(
    given: Callable[[str], Given], tmp_path: Path
) -> None:
    stage = engines.on_nemo(preferring(), layout(2, cp=2))
    one, other, torch = (given("llama").copied(tmp_path / name) for name in ("one", "other", "torch"))
    engines.run(stage, other)
    for number in (1, 5):
        with pytest.raises(RankError, match=f"StoppedError: tiny/box: stopped after step {number}"):
            engines.run(stage, one, engines.stopping_after(number))
    engines.run(stage, one, reading_ahead)
    same(engines.left(one), engines.left(other))
    by_torch(preferring(), torch)
    assert read_frozen(one) == read_frozen(other) == read_frozen(torch)


def test_in_bf16_the_reference_is_rounded_as_the_policy_is(given: Callable[[str], Given], tmp_path: Path) -> None:
    stage = engines.on_nemo(preferring(), layout(2, tp=2)).model_copy(update={"engine_class": "nemo-bf16"})
    inputs = given("llama").copied(tmp_path / "copy")
    engines.run(stage, inputs)
    rows = engines.left(inputs).rows
    assert [float(rows[0][column]) for column in COLUMNS] == [0.0] * 4
    assert float(rows[-1]["margin"]) > 1


def another() -> None:
    from stages.engines.nemo import frozen

    fill = frozen._fill

    def filled(copy: Any, model: Any) -> None:
        fill(copy, model)
        next(copy.parameters()).data[0] += 1e-3

    frozen._fill = filled


def itself() -> None:
    from stages.engines.nemo import frozen

    frozen.beside = lambda stage, chunks: list(chunks)


def exchanged() -> None:
    from stages.engines.nemo import preference

    of_losses = preference.of_losses
    preference.of_losses = lambda policy, reference, *rest: of_losses(reference, policy, *rest)


def otherwise() -> None:
    from stages.engines.nemo import provider

    build = provider.build_frozen

    def built(stage: Stage) -> list[Any]:
        chunks = build(stage)
        chunks[0].config.hidden_dropout = 0.1
        return chunks

    provider.build_frozen = built


@pytest.mark.parametrize(
    ("disturb", "said"),
    [
        (another, r"I-49 at tiny/box.*found a reference that differs in"),
        (itself, r"I-49 at tiny/box.*that moved in"),
        (exchanged, r"I-49 at tiny/box.*found a log-ratio of \S+ of a (chosen|rejected) answer"),
        (otherwise, r"BuiltOtherwiseError: .*model.hidden_dropout is 0.1, configured 0.0"),
    ],
    ids=["another", "itself", "exchanged", "otherwise"],
)
def test_another_reference_than_the_parent_stops_the_stage(
    disturb: Callable[[], None], said: str, given: Callable[[str], Given], tmp_path: Path
) -> None:
    inputs = given("llama").copied(tmp_path / "copy")
    with pytest.raises(RankError, match=said):
        engines.run(engines.on_nemo(preferring()), inputs, disturb)
    assert not inputs.layout.stage("tiny/box").exists()
