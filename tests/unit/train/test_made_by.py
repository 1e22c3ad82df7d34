"""A result whose steps were computed by different code, or in different environments, does not promise equal bits."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stages.engines import made_by, resume, run, training
from stages.spec.resolved import Execution
from stages.store import fingerprint, manifest
from stages.train import loop
from stages.train.ranks import ALONE
from stages.train.stopping import StoppedError
from tests.unit.train import tiny
from tests.unit.train.test_preference_stage import preferring

EXACT = tiny.EXECUTION
FAST = EXACT.model_copy(update={"determinism": "fast"})

pytestmark = pytest.mark.usefixtures("made_up_data")


class Killed(tiny.Data):
    def samples(self, first: int, count: int, tail: int) -> list[Any]:
        if first == 16:  # the fifth step; the last checkpoint is that of the third
            raise KeyboardInterrupt
        return super().samples(first, count, tail)


def finished(root: Path, monkeypatch: pytest.MonkeyPatch, later: pytest.MonkeyPatch) -> tuple[str, list[Any]]:
    """The tier and the makers of a stage that was killed, and went on where `later` has changed something."""
    monkeypatch.setattr(training, "PhaseData", Killed)
    with pytest.raises(KeyboardInterrupt):
        run(tiny.make("next_token"), tiny.inputs(root))
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    later.undo()
    run(tiny.make("next_token"), tiny.inputs(root))
    result = root / "results/mini/tiny/box"
    return manifest.read(result / "manifest.json").tier, json.loads((result / "run.json").read_bytes())["made_by"]


def test_one_code_in_one_environment_keeps_its_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tier, makers = finished(tmp_path, monkeypatch, pytest.MonkeyPatch())
    assert (tier, len(makers)) == ("bit-exact", 1)


def test_the_threads_are_those_that_are_computed_with_whatever_a_shell_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snakemake's rules set OMP_NUM_THREADS, DVC's and a person's shell do not: an engine sets its threads itself."""
    later = pytest.MonkeyPatch()
    later.setenv("OMP_NUM_THREADS", "3")
    tier, (maker,) = finished(tmp_path, monkeypatch, later)
    assert tier == "bit-exact"
    assert maker["words"].endswith("threads 1)")
    environment = json.loads((tmp_path / "results/mini/tiny/box/run.json").read_bytes())["environment"]
    assert (environment["threads"], environment["id"]) == (1, maker["environment"])


def test_ranks_with_other_code_promise_no_more_than_statistics() -> None:
    other = SimpleNamespace(device=torch.device("cpu"), values=lambda own: [own, ["f" * 16, *own[1:]]])
    makers = made_by.here(other)  # type: ignore[arg-type]
    assert {one.code for one in makers} == {fingerprint.code(), "f" * 16}
    assert made_by.tier(makers) == "statistical"


def test_other_code_after_a_stop_promises_no_more_than_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = pytest.MonkeyPatch()
    before.setattr(fingerprint, "code", lambda: "0" * 16)
    tier, makers = finished(tmp_path, monkeypatch, before)
    assert tier == "statistical"
    assert {one["code"] for one in makers} == {"0" * 16, fingerprint.code()}
    assert "steps made under different code (0000000000000000, " in capsys.readouterr().out


def test_another_environment_after_a_stop_promises_no_more_than_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = pytest.MonkeyPatch()
    before.setenv("ATEN_CPU_CAPABILITY", "default")  # read when torch starts, so that no bit moves in this process
    tier, makers = finished(tmp_path, monkeypatch, before)
    assert (tier, len(makers)) == ("same-order", 2)
    said = capsys.readouterr().out
    assert "steps made under different environments (" in said
    assert all(f"{one['environment']} (Python " in said for one in makers)
    assert "ATEN_CPU_CAPABILITY=default)" in said


def test_a_parent_of_another_environment_is_named_when_its_child_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not one of the same, nor one that trained nothing: an import has no device."""
    stage, inputs = preferring(tmp_path)
    path = tmp_path / "results/mini/tiny/base/run.json"
    made = json.loads(path.read_bytes())
    run(stage, inputs)
    assert "another environment" not in capsys.readouterr().out
    for makers, told in ((made["made_by"], True), ([], False), ("of no kind", False)):
        path.write_text(json.dumps({**made, "environment": {"id": "e" * 16, "python": "3.10.1"}, "made_by": makers}))
        monkeypatch.setattr(training, "PhaseData", Killed)
        with pytest.raises(KeyboardInterrupt):
            run(stage, replace(inputs, key="c" * 32))
        said = f"tiny/box: tiny/base was computed in another environment, {'e' * 16} (Python 3.10.1); this one is "
        assert (said in capsys.readouterr().out) == told


def test_a_checkpoint_from_before_there_were_words_is_of_the_same_environment(tmp_path: Path) -> None:
    now = made_by.here(ALONE)
    earlier = frozenset(one.model_copy(update={"words": ""}) for one in now)
    assert made_by.tier(now | earlier) == "bit-exact"
    assert made_by.listed(now | earlier) == made_by.listed(now)


def tiers(root: Path, monkeypatch: pytest.MonkeyPatch, *attempts: tuple[Execution, str]) -> list[str]:
    """What the newest checkpoint promises after each attempt (how, and by which code), one step further each time;
    then what the result does, whose last steps are computed in full by code 1.
    """
    found, record = [], loop.record

    def stop(made: loop.Run, *args: Any) -> None:
        record(made, *args)
        made.stop.ask()

    monkeypatch.setattr(fingerprint, "code", lambda: "1")
    for execution, code in attempts:
        with monkeypatch.context() as patched:
            patched.setattr(fingerprint, "code", lambda code=code: code)
            patched.setattr(loop, "record", stop)
            with pytest.raises(StoppedError):
                run(tiny.make("next_token").model_copy(update={"execution": execution}), tiny.inputs(root))
        latest = max((root / "results/.runs").glob("*/attempt-*/partial-*"))
        found.append(resume.tier_of(latest))
    run(tiny.make("next_token"), tiny.inputs(root))
    return [*found, manifest.read(root / "results/mini/tiny/box/manifest.json").tier]


@pytest.mark.parametrize(
    ("attempts", "wanted"),
    [
        ([(EXACT, "1"), (EXACT, "1")], ["bit-exact", "bit-exact", "bit-exact"]),
        ([(EXACT, "1"), (FAST, "1"), (EXACT, "1")], ["bit-exact", "same-order", "same-order", "same-order"]),
        ([(EXACT, "0"), (EXACT, "1")], ["bit-exact", "statistical", "statistical"]),
    ],
    ids=["all in full", "one in any order", "one by other code"],
)
def test_a_result_promises_no_more_than_any_of_its_attempts_did(
    attempts: list[tuple[Execution, str]], wanted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`determinism: fast`, as a number of ranks, is in no key: it may be edited between two attempts."""
    assert tiers(tmp_path, monkeypatch, *attempts) == wanted


def test_ranks_on_machines_of_two_kinds_promise_no_more_than_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = frozenset(made_by.Maker(code="1", environment=one) for one in ("this", "that"))
    monkeypatch.setattr(made_by, "here", lambda *given: two)
    assert tiers(tmp_path, monkeypatch) == ["same-order"]


def test_a_checkpoint_that_does_not_say_is_not_trusted_with_bits(tmp_path: Path) -> None:
    assert made_by.tier(made_by.of(tmp_path) | made_by.here(ALONE)) == "statistical"


def test_what_cannot_change_a_step_is_not_in_the_digest_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("store/fingerprint.py", "report/table.py", "train/loop.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    monkeypatch.setattr(fingerprint, "__file__", str(tmp_path / "store/fingerprint.py"))
    digests = {}
    for name in ("", "report/table.py", "train/loop.py"):
        if name:
            (tmp_path / name).write_text("new")
        fingerprint.code.cache_clear()
        digests[name] = fingerprint.code()
    monkeypatch.undo()
    fingerprint.code.cache_clear()
    assert digests[""] == digests["report/table.py"] != digests["train/loop.py"]


LOADED = """
import sys
import stages.engines.torch_engine
print(*{name.split(".")[1] for name in sys.modules if name.startswith("stages.")})
"""


def test_what_no_step_loads_is_not_the_code_that_made_a_result() -> None:
    """A package that only reads recipes or results must not make finished results look like another code's."""
    ran = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)
    loaded = set(ran.stdout.split())
    package = Path(fingerprint.__file__).resolve().parents[1]
    parts = [one for one in package.iterdir() if one.suffix == ".py" or (one / "__init__.py").is_file()]
    counted = {one.stem for one in parts if fingerprint.counts(one.name)}
    assert counted - {"__init__"} <= loaded
