"""`stages compare`: where two runs part, whether they may, and what they came to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot

from stages.commands.compare import folder, print_compare
from stages.diff import runs
from stages.diff.runs_text import text
from stages.errors import UsageError, UserError
from tests.unit.report import make
from tests.unit.spec import small_project

LOSSES = (3.0, 2.5, 2.0, 1.5)


def run(root: Path, losses: tuple[float, ...] = LOSSES, after: float = 1.5, **changes: Any) -> Path:
    """A finished run of one stage below `root`; `changes` are made to its manifest.json."""
    stage = make.stage("warmup", "Warmup", phases=[make.phase(4096)], pieces=[make.piece(0, 4096, "linear", 0.0, 1e-3)])
    place = make.write_result(root, stage, losses=losses, before={"loss": 4.0}, after={"loss": after})
    record = json.loads((place / "manifest.json").read_bytes())
    (place / "manifest.json").write_text(json.dumps(record | changes))
    return place


def test_two_equal_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b")
    assert print_compare(str(a), str(b), "mini", False) == 0
    said = capsys.readouterr().out.replace(str(tmp_path), "")
    assert said == snapshot("""\
A: /a/results/paper/ouro/warmup (ouro/warmup)
B: /b/results/paper/ouro/warmup (ouro/warmup)

equal: every step and every weight, to the last bit

  key          equal
  data order   equal
  environment  equal
  weights      equal
  tier         bit-exact
  steps        4

  loss         equal at every step of both
  grad_norm    equal at every step of both
  tokens       equal at every step of both
  lr           equal at every step of both

  final evaluations  all equal
""")


def test_the_first_divergent_step_and_the_largest_difference(tmp_path: Path) -> None:
    a = run(tmp_path / "a")
    b = run(tmp_path / "b", losses=(3.0, 2.5, 2.25, 1.0), after=1.0, key="f" * 32)
    found = runs.compare(a, b)
    loss = next(column for column in found.columns if column.name == "loss")
    assert (loss.first, loss.largest, loss.largest_step) == (3, 0.5, 4)
    assert (loss.relative, loss.relative_step) == (0.5 / 1.5, 4)
    assert found.evaluations["loss"] == (1.5, 1.0)
    assert text(found).splitlines()[-2:] == [
        "  final evaluations           A           B       B - A",
        "  loss                      1.5           1        -0.5",
    ]
    assert not found.broken  # other keys: nothing was promised


def test_the_last_bit_counts(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b", losses=(3.0, 2.5, 2.0, 1.5000000000000002))
    loss = runs.compare(a, b).columns[0]
    assert (loss.first, loss.largest) == (4, 2**-52)


def test_a_broken_promise_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b", losses=(3.0, 2.5, 2.0, 1.75))
    assert print_compare(str(a), str(b), "mini", False) == 1
    assert "BROKEN: same key, same environment, both bit-exact, and yet different from step 4 on (loss)" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"key": "f" * 32}, "the specs differ"), ({"tier": "same-order"}, "the tier promises no equal bits")],
)
def test_a_difference_that_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], why: str
) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b", losses=(3.0, 2.5, 2.0, 1.75), **changes)
    assert print_compare(str(a), str(b), "mini", False) == 0
    assert f"different from step 4 on (loss); {why}" in capsys.readouterr().out


def test_a_result_beside_itself_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b")
    print_compare(str(a), str(a), "mini", False)
    assert capsys.readouterr().out.endswith("A and B are one result: both names lead to it.\n")
    print_compare(str(a), str(b), "mini", False)
    assert "one result" not in capsys.readouterr().out


def test_another_environment_promises_nothing(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b", losses=(3.0, 2.5, 2.0, 1.75))
    (b / "run.json").write_text(json.dumps({"environment": {"id": "another"}}))
    found = runs.compare(a, b)
    assert not found.same_environment
    assert not found.broken
    (b / "run.json").write_text(json.dumps({"environment": {"id": "another", "torch": "2.9 a-wheel", "python": "3.1"}}))
    assert " (A), another (Python 3.1, torch 2.9) (B)\n  weights" in text(runs.compare(a, b))


def test_environments_that_were_not_recorded_are_not_known_to_be_one(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b")
    for place in (a, b):
        (place / "run.json").write_text("{}")
    assert not runs.compare(a, b).same_environment


def test_a_shorter_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b", losses=LOSSES[:2], key="f" * 32)
    print_compare(str(a), str(b), "mini", True)
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == [4, 2]
    assert not found["equal"]


def test_data_order_is_what_is_read_and_not_how_it_is_batched() -> None:
    stage = make.stage("warmup", "Warmup", phases=[make.phase(4096)])
    longer = stage.model_copy(update={"phases": (make.phase(8192),)})
    other = stage.model_copy(update={"phases": (make.phase(4096).model_copy(update={"micro_batch": 2}),)})
    assert runs.order(stage) != runs.order(longer)
    assert runs.order(stage) == runs.order(other)


def test_results_by_reference_at_two_scales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = run(tmp_path)
    (tmp_path / "specs" / "scales").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert folder("ouro/warmup@paper", "mini").samefile(place)
    assert folder("ouro/warmup", "paper").samefile(place)
    with pytest.raises(UsageError, match="found 'nonsense'; allowed: the folder"):
        folder("nonsense", "mini")


def test_a_result_that_is_not_there_is_told_with_what_makes_it_or_what_else_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_project.write(tmp_path))  # specs alone, without a Snakefile
    typed = "stages upgrade && snakemake toy__first --config scale=mini"
    made = rf"no finished result in .*results/mini/toy/first. `{typed}` makes it"
    with pytest.raises(UsageError, match=made):
        folder("toy/first@mini", "paper")
    with pytest.raises(UsageError, match=r"found 'mimi'; allowed: a scale \(mini, paper\), the first 6 or more digits"):
        folder("toy/first@mimi", "mini")
    with pytest.raises(UsageError, match="no stage 'toy/frist'; there are: "):
        folder("toy/frist", "mini")


def test_a_folder_that_is_no_result_is_not_taken_for_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_project.write(tmp_path))
    (tmp_path / "exports/mine").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"found 'exports/mine'; allowed: the folder of a finished stage \(it has a"):
        folder("exports/mine", "mini")


def test_a_point_is_named_as_specs_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_project.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "results/mini/toy/second_at_64"
    place.mkdir(parents=True)
    with pytest.raises(UsageError, match="found '64'; allowed: a scale"):
        folder("toy/second@64", "mini")
    (place / "manifest.json").write_text("{}")
    assert folder("toy/second@64", "mini") == place


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b")
    (b / "metrics.csv").unlink()
    with pytest.raises(UserError, match=r"b/results/.*metrics.csv: is not there"):
        runs.compare(a, b)
