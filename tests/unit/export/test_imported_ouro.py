"""A looped release: imported, evaluated loop by loop, sampled, and exported with its number of loops."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import chdir
from pathlib import Path

import pytest
import yaml

from stages.commands.export import export
from stages.commands.generate import generate
from stages.commands.run import run_stage
from stages.errors import UserError
from stages.models import hf_config, release_files
from tests.edits import edit
from tests.unit.export import project as projects

COME = """\
stage: come
box: come
kind: import
modules: {{llm: ouro}}
release: looped
max_context: 64
{rope}evaluate: [validation_loss, loops]
evaluate_on: {{data: math, context: 64, document_mask: true, loops: 3}}
sources:
  - {{covers: ["*"], mark: chosen}}
"""


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A project in whose scale releases are given, and one that is this project's own Ouro, without its code."""
    root = Path(shutil.copytree(finished, tmp_path / "project"))
    with chdir(root):
        export("plain/looped", root / "releases/looped", "mini", "fp32", "5GB", None, None)
    config = json.loads((root / "releases/looped/config.json").read_text())
    del config["auto_map"]
    _configure(root, config)
    specs = root / "specs"
    (specs / "mine").mkdir()
    tree = yaml.safe_load(projects.SPECS["plain/pipeline.yaml"])
    tree |= {"pipeline": "mine", "claims": [], "stages": ["come"], "schedules": {}, "optimizers": {}}
    text = yaml.safe_dump({**tree, "models": {"ouro": tree["models"]["ouro"]}})
    (specs / "mine/pipeline.yaml").write_text(text)
    rope = re.search(r"rope: .*\n", projects.SPECS["plain/looped.yaml"])
    assert rope is not None
    (specs / "mine/come.yaml").write_text(COME.format(rope=rope[0]))
    mini = specs / "scales/mini.yaml"
    edit(mini, "releases: stand_in", "releases: given")
    return root


def _configure(root: Path, config: dict[str, object]) -> None:
    """The release with another config.json, and its declaration."""
    folder = root / "releases/looped"
    (folder / "config.json").write_text(json.dumps(config))
    said = {
        "release": "looped", "source": "me/looped", "revision": "none", "licence": "none",
        "architecture": "OuroForCausalLM", "digest": release_files.digest(folder),
    }  # fmt: skip
    (root / "specs/releases").mkdir(exist_ok=True)
    (root / "specs/releases/looped.yaml").write_text(yaml.safe_dump(said))


def test_it_is_looped_as_it_was_released(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with chdir(project):
        run_stage("mine/come", "mini", project / "releases")
        found = json.loads((project / "results/mini/mine/come/eval.json").read_text())["after"]
        assert sorted(found["loops"]) == ["1", "2", "3"]
        assert found["loops"]["3"] == found["validation"]["loss"]
        assert hf_config.read(project / "results/mini/mine/come/model/llm").loops == 3
        said = []
        for ref in ("mine/come", "plain/looped"):
            capsys.readouterr()
            generate(ref, "1 + 1", "mini", False, 6, None, None, None)
            said.append(capsys.readouterr().out)
    assert said[0] == said[1]


def test_a_release_that_does_not_say_how_often_is_refused(project: Path) -> None:
    config = json.loads((project / "releases/looped/config.json").read_text())
    del config["total_ut_steps"]
    _configure(project, config)
    with (
        chdir(project),
        pytest.raises(UserError, match=r"config\.json: total_ut_steps: found None; allowed: how often"),
    ):
        run_stage("mine/come", "mini", project / "releases")
