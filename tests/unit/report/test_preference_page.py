"""docs/recipes.md: the stage of preference training that stands there fits the project that it is written for."""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from stages.check.run import run
from stages.data.preparing import prepare
from stages.data.preparing.measured import declaration
from stages.spec.project import Project
from tests.edits import edit
from tests.shipped import ROOT

PAGE = (ROOT / "docs/recipes.md").read_text()


@pytest.mark.slow
def test_the_stage_on_the_page_is_read_as_it_stands_there(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples/tiny", tmp_path, dirs_exist_ok=True)
    files = dict(re.findall(r"```yaml\n# (specs/\S+?\.yaml)[^\n]*\n(.*?)```", PAGE, flags=re.DOTALL))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (mixture,) = re.findall(r"`(preferring: .*)`\. In", PAGE)
    (schedule,) = re.findall(r"^`(dpo: .*)`\. Then", PAGE, flags=re.MULTILINE)
    (stages,) = re.findall(r"`(stages: \[.*\])`, and", PAGE)
    edit(tmp_path / "specs/data/mixtures.yaml", "mixtures:\n", f"mixtures:\n  {mixture}\n")
    pipeline = tmp_path / "specs/tiny/pipeline.yaml"
    edit(pipeline, "schedules:\n", f"schedules:\n  {schedule}\n", "stages: [pretrain, long, sft]", stages)
    rows = [json.loads(line)["messages"] for line in (tmp_path / "data/questions.jsonl").read_text().splitlines()]
    pairs = [{"chosen": one, "rejected": [one[0], other[1]]} for one, other in pairwise(rows) if one[1] != other[1]]
    (tmp_path / "data/preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    data = tmp_path / "results/mini/data"
    prepare.prepare(tmp_path, "tokenizer", data / "tokenizer")
    made = prepare.prepare(tmp_path, "preferences", data / "preferences", accept=True)
    with (tmp_path / "specs/data/preferences.yaml").open("a") as file:
        file.write(declaration(made, {}))
    project = Project.load(tmp_path)
    assert run(project, "mini") == []
    stage = project.resolve("tiny", "mini").stages["dpo"]
    assert stage.parents == ("tiny/sft",)
    assert stage.read_frozen == ("llm",)
    assert stage.phases[0].preference is not None
    assert yaml.safe_load(files["specs/tiny/dpo.yaml"])["evaluate"] == ["preferences"]
