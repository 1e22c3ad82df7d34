"""Every stage of every scale on local corpora has the rows that it needs: none is refused before its first step.

Rows are counted in the prepared corpora, which `make mini` leaves behind and which all scales share; without them this
is skipped. `.ci/run` runs it after `make mini`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.device import pipelines
from stages.data.loading.rows import refuse_short
from stages.data.spec import NOT_CORPORA
from stages.spec.project import Project
from stages.store.layout import Layout
from tests import shipped

ROOT = Path(__file__).resolve().parents[3]
DATA = Layout(ROOT, "mini").data
NAMES = [path.stem for path in (ROOT / "specs/data").glob("*.yaml") if path.stem not in NOT_CORPORA]
THERE = all((DATA / name / "manifest.json").is_file() for name in NAMES)


@pytest.mark.skipif(not THERE, reason="needs the prepared corpora of `make mini`")
@pytest.mark.parametrize("scale", ["mini", "small"])
@pytest.mark.parametrize("pipeline", shipped.PIPELINES)
def test_every_stage_has_its_rows(pipeline: str, scale: str) -> None:
    for stage in Project.load(ROOT).resolve(pipeline, scale).stages.values():
        if stage.phases:
            refuse_short(stage, ROOT, DATA)


@pytest.mark.skipif(not THERE, reason="needs the prepared corpora of `make mini`")
def test_what_make_device_runs_of_small_has_its_rows(tmp_path: Path) -> None:
    pipelines.shorten(tmp_path)
    for stage in Project.load(tmp_path).resolve(pipelines.PIPELINE, pipelines.SCALE).stages.values():
        if stage.phases:
            refuse_short(stage, ROOT, DATA)
