"""Runs that go on although their spec was edited since: whose, under which key, how far; and no other runs."""

from __future__ import annotations

import json
import os

import pytest

from stages.store import attempts, other_runs, progress
from stages.store.layout import Layout
from tests.unit.store.conftest import A

B, C, EARLIER, ANOTHER_SCALES, ANOTHER_STAGES, CRASHED = (name * 32 for name in "bc1234")


def test_a_living_run_of_an_earlier_spec_is_told_of_and_nothing_else(layout: Layout) -> None:
    keys = {"toy/one": A, "toy/two": B}
    with pytest.raises(ValueError, match="ended"), attempts.start(layout, "toy/one", CRASHED, {}):
        raise ValueError("ended")
    small = Layout(layout.root, "small")
    with (
        attempts.start(layout, "toy/one", EARLIER, {}) as first,
        attempts.start(layout, "toy/two", B, {}),
        attempts.start(small, "toy/one", ANOTHER_SCALES, {}),
        attempts.start(layout, "toy/three", ANOTHER_STAGES, {}),
    ):
        (found,) = other_runs.of_other_keys(layout, keys)
        who = f"process {os.getpid()} on host {first.holder.host}"
        assert str(found).startswith(f"toy/one: {who} still runs what its spec was before (key {EARLIER[:12]}). Its")
        progress.write(first.folder, "main", 1200, 4000, 0.1)
        (found,) = other_runs.of_other_keys(layout, keys)
        assert f"(key {EARLIER[:12]}, step 1,200 of 4,000)" in str(found)
        (first.folder / attempts.RECORD).write_text(json.dumps({"ref": "toy/one", "parents": {}}))
        assert not list(other_runs.of_other_keys(layout, keys)), "an earlier version's says no scale"
    assert not list(other_runs.of_other_keys(layout, {**keys, "toy/three": C}))
