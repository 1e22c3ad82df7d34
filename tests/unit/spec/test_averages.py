"""`weights: average`: what resolves, what is refused by file and line, and that the key knows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.run import run_pipeline
from stages.commands.show import print_stages
from stages.contract import layouts
from stages.errors import SpecError
from stages.spec.project import Project
from stages.spec.resolved_parallel import Parallel
from tests.unit.spec.small_project import edit

SECOND, EMA = "toy/second.yaml", ("toy/pipeline.yaml", "clip: 1.0}", "clip: 1.0, ema: 0.999}")
LAYOUT = Parallel(tp=1, pp=1, cp=1, ep=1, vpp=1, sequence_parallel=False, distributed_optimizer=True, recompute="none")


@pytest.fixture
def kept(root: Path) -> Path:
    """toy/first and toy/second keep averages; second starts from first's with fresh moments."""
    edit(root, *EMA)
    edit(root, SECOND, "weights: inherit\n  optimizer: inherit", "weights: average\n  optimizer: reset")
    return root


def release(root: Path, text: str, kind: str = "export") -> None:
    (root / "specs/toy/release.yaml").write_text(f"stage: release\nbox: Release\nkind: {kind}\ninit: {text}\n")


def test_a_stage_and_an_export_take_it_and_the_key_knows(kept: Path) -> None:
    before = Project.load(kept).resolve("toy", "paper")
    init = before.stages["second"].init["llm"]
    assert (init.weights, init.average, init.optimizer, init.taken) == ("inherit", True, "reset", "average")
    assert not before.stages["release"].init["llm"].average
    release(kept, "{from: second, weights: average}")
    exported = Project.load(kept).resolve("toy", "paper")
    assert exported.stages["release"].init["llm"].average
    edit(kept, SECOND, "weights: average", "weights: {llm: inherit}")
    last = Project.load(kept).resolve("toy", "paper")
    differ = [[a.keys[name] != b.keys[name] for name in a.keys] for a, b in ((before, exported), (exported, last))]
    assert differ == [[False, False, True], [False, True, True]]
    release(kept, "{from: second, weights: inherit}")
    assert Project.load(kept).resolve("toy", "paper").keys["release"] != last.keys["release"]


def test_a_clock_that_goes_on_without_a_warm_up_wants_the_moments_as_ever(kept: Path) -> None:
    assert "I-39" in {one.id for one in run_pipeline(Project.load(kept), "toy", "paper")}


def test_it_comes_through_keep_and_not_through_export(kept: Path) -> None:
    for kind in ("keep", "export"):
        (kept / "specs/toy/between.yaml").write_text(f"stage: between\nbox: B\nkind: {kind}\ninit: {{from: first}}\n")
        if kind == "keep":
            edit(kept, "toy/pipeline.yaml", "stages: [first,", "stages: [first, between,")
            edit(kept, SECOND, "from: first", "from: between")
            assert Project.load(kept).resolve("toy", "paper").stages["second"].init["llm"].average
    with pytest.raises(SpecError, match=r"average for llm, of which between has none"):
        Project.load(kept).resolve("toy", "paper")


def test_a_point_of_the_trunk_has_one(kept: Path) -> None:
    edit(kept, SECOND, "from: first", "from: first@1B")
    stages = Project.load(kept).resolve("toy", "paper").stages
    assert stages["second"].init["llm"].average
    assert stages["second"].parents == ("toy/first_at_1b",)


BAD = [
    (EMA[0], "ema: 0.999", "", rf"{SECOND}:\d+: init.weights: found average for llm, of which first has none; allowed"),
    (
        SECOND,
        "optimizer: reset",
        "optimizer: inherit",
        rf"{SECOND}:\d+: init.optimizer: found inherit .* its last weights",
    ),
    (SECOND, "average", "{llm: mean}", r"allowed: inherit, fresh, average,"),
    ("toy/first.yaml", "weights: fresh", "weights: average", r"toy/first.yaml:\d+: init.from: found no parent for llm"),
]


@pytest.mark.parametrize(("file", "old", "new", "message"), BAD)
def test_what_has_no_average_or_keeps_moments_is_refused(
    kept: Path, file: str, old: str, new: str, message: str
) -> None:
    edit(kept, file, old, new)
    with pytest.raises(SpecError, match=message):
        Project.load(kept).resolve("toy", "paper")


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("keep", "{from: second, weights: average}", r"release.yaml:4: init.weights: found the unknown key"),
        ("export", "{from: second, weights: fresh}", r"release.yaml:4: init.weights.*allowed: .*average"),
        (
            "export",
            "{from: second, weights: {vit: average}}",
            r"release.yaml:4: .*the unknown module 'vit'; allowed: llm",
        ),
    ],
)
def test_an_export_takes_the_one_or_the_other_and_keep_is_a_pointer(
    kept: Path, kind: str, text: str, message: str
) -> None:
    release(kept, text, kind)
    with pytest.raises(SpecError, match=message):
        Project.load(kept).resolve("toy", "paper")


def test_nemo_refuses_it_by_name(kept: Path) -> None:
    stage = Project.load(kept).resolve("toy", "paper").stages["second"]
    stage = stage.model_copy(update={"execution": stage.execution.model_copy(update={"parallel": LAYOUT})})
    assert ("average", "for llm") in [(one.part, one.observed) for one in layouts.unsupported(stage)]


def test_show_says_it(kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(kept)
    print_stages("toy/second", "paper", as_json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "the average of the weights, kept by `ema`, from toy/first, a new optimizer state" in said
