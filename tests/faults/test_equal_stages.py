"""Two stages of equal work, asked for at once: one trains, the other waits and takes the result over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edits import replaced
from tests.faults.held import Project
from tests.paused import Watch

WAIVED = """\
waivers:
  - {id: I-38, at: [stage], found: chat, reason: the same work on purpose}
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_stages_of_equal_work_share_one_run(tmp_path: Path) -> None:
    project = Project(tmp_path, Watch(tmp_path / "watched"))
    specs = project.root / "specs/toy"
    # Two of a kind are arms of a comparison, so the waiver of a stage that nothing is built on has nothing to excuse.
    chat = (specs / "chat.yaml").read_text().partition("waivers:\n")[0]
    (specs / "chat.yaml").write_text(chat)
    twin = replaced(chat, "stage: chat\nbox: chat\n", "stage: twin\nbox: twin\n")
    (specs / "twin.yaml").write_text(twin + WAIVED)
    project.inner.edit("specs/toy/pipeline.yaml", "chat, release]", "chat, twin, release]")
    project.inner.type("stages", "sync")
    project.watch.hold("chat", 1)
    project.watch.hold("twin", 1)
    try:
        driver = project.start("snakemake", "--cores", "2", "toy__chat", "toy__twin")
        project.until("one to wait", lambda: project.said.count("waiting for process") == 1, driver)
        project.until("a step", lambda: project.watch.steps("chat") or project.watch.steps("twin"), driver)
        project.watch.let_go("chat")
        project.watch.let_go("twin")
        assert project.end_of(driver) == 0, project.said
        assert project.states()["chat"] == project.states()["twin"] == "done"
        assert project.attempts("chat") + project.attempts("twin") == 1
        assert "which has the same key, was taken over, no training" in project.said
        results = [project.root / "results/mini/toy" / name for name in ("chat", "twin")]
        assert (results[0] / "manifest.json").read_bytes() == (results[1] / "manifest.json").read_bytes()
    finally:
        project.end()
