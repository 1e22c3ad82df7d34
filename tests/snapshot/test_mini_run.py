"""A few steps of every objective: losses, gradient norms and weights to the last bit, for each known environment.

In an environment that no golden knows, the first steps must agree with one that is known to the tolerance of the
same-order tier, the documents read must be the same, and a run that was stopped and resumed must equal the undisturbed
one bit for bit; the terminal's summary says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from stages.store.fingerprint import fingerprint
from stages.train.stopping import StoppedError
from tests.snapshot import mini
from tests.snapshot.mini import Golden, divergence, same_order
from tests.unit.data.small import Small
from tests.unit.train import tiny

GOLDENS = Path(__file__).parent / "__snapshots__" / "test_mini_run"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the engine computes; the fingerprint reads the variable."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def known(objective: str) -> dict[str, Golden]:
    """The golden's entries, by environment."""
    path = GOLDENS / f"test_objective[{objective}].json"
    return json.loads(path.read_text()) if path.is_file() else {}


@pytest.mark.parametrize("objective", tiny.OBJECTIVES)
def test_objective(
    objective: str,
    small: Small,
    table: SnapshotAssertion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    entries, here = known(objective), str(fingerprint()["id"])
    found = mini.train(mini.stage(objective, small), small, tmp_path, monkeypatch)
    change = divergence(entries[here], found) if here in entries else ""
    if request.config.getoption("update_snapshots"):
        if change:
            request.node.user_properties.append(("golden", f"mini-run {objective} updated: {change}"))
        assert {**entries, here: found} == table
    elif here in entries or not entries:
        assert not change, change
        assert {**entries, here: found} == table
    else:
        said = unseen(objective, entries, found, small, tmp_path / "twin", monkeypatch)
        request.node.user_properties.append(
            ("golden", f"mini-run {objective}: environment {here} not seen before; {said}")
        )
        assert entries == table


def unseen(
    objective: str, entries: dict[str, Golden], found: Golden, small: Small, root: Path, patch: pytest.MonkeyPatch
) -> str:
    """What holds without a golden of this environment; fails where it does not."""
    near = [name for name, entry in entries.items() if same_order(entry, found)]
    assert near, "; ".join(f"{name}: {divergence(entry, found)}" for name, entry in entries.items())
    made = mini.stage(objective, small)
    with pytest.raises(StoppedError):
        mini.train(made, small, root, patch, stop_at=2)
    resumed = mini.train(made, small, root, patch)
    assert resumed["steps"] == found["steps"]
    assert resumed["digests"] == found["digests"]
    return (
        f"first {mini.SAME_ORDER_STEPS} steps within {mini.SAME_ORDER:g} of {near[0]}, "
        "and equal to its twin that was stopped and resumed"
    )


def test_an_environment_not_seen_before_is_held_to_the_same_order_tier(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = mini.train(mini.stage("next_token", small), small, tmp_path / "whole", monkeypatch)
    near = {**found, "steps": [scaled(line, 1 + 1e-7) for line in found["steps"]]}
    said = unseen("next_token", {"elsewhere": near}, found, small, tmp_path / "twin", monkeypatch)
    assert said.startswith("first 3 steps within 1e-05 of elsewhere, and equal to its twin")
    far = {**found, "steps": [scaled(line, 1 + 1e-4) for line in found["steps"]]}
    with pytest.raises(AssertionError, match="elsewhere: loss first diverges at step 1"):
        unseen("next_token", {"elsewhere": far}, found, small, tmp_path / "other", monkeypatch)
    with pytest.raises(AssertionError, match="other documents were read"):
        unseen("next_token", {"elsewhere": {**found, "samples": ""}}, found, small, tmp_path / "third", monkeypatch)


def scaled(line: str, factor: float) -> str:
    step, *values = line.split()
    return " ".join([step, *((float.fromhex(value) * factor).hex() for value in values)])


def test_a_difference_is_told_by_its_first_step_and_its_maximum() -> None:
    old: dict[str, Any] = {
        "steps": [f"{i} {(1.0).hex()} {(2.0).hex()}" for i in (1, 2, 3)],
        "digests": {"a": "1", "b": "2"},
        "samples": "s",
    }
    new = {**old, "steps": [old["steps"][0], f"2 {(1.5).hex()} {(2.0).hex()}", f"3 {(0.25).hex()} {(2.0).hex()}"]}
    assert divergence(old, old) == ""
    assert divergence(old, {**new, "digests": {"a": "1", "b": "3"}}) == (
        "loss first diverges at step 2, by at most 0.75 (0.75 relative), at step 3; b differs"
    )
    assert divergence(old, {**old, "steps": old["steps"][:2]}) == "3 steps became 2"
