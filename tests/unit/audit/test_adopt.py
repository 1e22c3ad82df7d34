"""`stages adopt`: a recipe becomes specs that load, beside what is there; other names and texts do no harm."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from stages.audit.adopt import parts
from stages.audit.family import traits
from stages.commands.adopt import adopt
from stages.errors import UsageError, UserError
from stages.spec.names import LONGEST
from stages.spec.project import Project
from tests.edits import edit, replaced
from tests.unit.audit.planted import SOUND


def written(project: Path) -> dict[str, bytes]:
    return {str(path.relative_to(project)): path.read_bytes() for path in project.rglob("specs/**/*") if path.is_file()}


def test_what_does_not_load_is_said_with_the_line_that_is_not_there_any_more(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written(project)
    traits()  # is cached, and reads the same table
    monkeypatch.setitem(parts.MODEL, "vocab", 0)
    with pytest.raises(UserError, match=r"nothing was written: .*pipeline.yaml would not load at line .* `vocab: 0`"):
        adopt([SOUND / "factory"], "mine")
    assert written(project) == before


def test_other_scales_are_as_they_were(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys, scale = Project.load(project).keys("mini"), project / "specs/scales/mini.yaml"
    before = scale.read_text()
    adopt([SOUND / "megatron_finetune"], "mine")
    assert "specs/scales/mini.yaml: its `pipelines` names those that were at this scale" in capsys.readouterr().out
    assert scale.read_text() == replaced(before, "pipelines: identity", "pipelines: {tiny: identity}")
    loaded = Project.load(project)
    assert (loaded.pipelines(variants=True, scale="mini"), loaded.keys("mini")) == (["tiny"], keys)
    adopt([SOUND / "nanotron"], "other")
    assert "mini.yaml" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "spelling", ["pipelines: 'identity'  # all", '"pipelines" : identity', "pipelines:\n  identity"]
)
def test_other_scales_are_as_they_were_in_every_spelling(spelling: str, project: Path) -> None:
    scale = project / "specs/scales/mini.yaml"
    edit(scale, "pipelines: identity", spelling)
    adopt([SOUND / "megatron_finetune"], "mine")
    assert Project.load(project).pipelines(variants=True, scale="mini") == ["tiny"]


def test_a_file_whose_name_is_a_key_or_a_number_is_a_stage_all_the_same(project: Path) -> None:
    recipes = project / "recipes"
    recipes.mkdir()
    text = (SOUND / "arguments_json/training_args.json").read_text()
    for name in ("01", "02", "data", "stage"):
        (recipes / f"{name}.json").write_text(replaced(text, '"output_dir": "', f'"output_dir": "/out/{name}'))
    adopt([recipes], "mine")
    assert sorted(Project.load(project).resolve("mine", "mine").stages) == ["data_run", "run_01", "run_02", "stage_run"]


def test_long_names_and_equal_names_in_other_folders_stay_apart(project: Path) -> None:
    recipes = project / "recipes"
    recipes.mkdir()
    text = (SOUND / "arguments_json/training_args.json").read_text()
    for name in ("first", "second"):
        written = replaced(text, "{\n", f'{{\n  "model_name_or_path": "/models/{name}/final",\n')
        (recipes / f"{name}.json").write_text(replaced(written, '"output_dir": "', f'"output_dir": "/out/{name}'))
    name = "a" * LONGEST
    adopt([recipes], name)
    mixtures = yaml.safe_load((project / "specs/data/mixtures.yaml").read_text())["mixtures"]
    assert len([one for one in mixtures if one.startswith("aaa")]) == 2
    sources = [yaml.safe_load(path.read_text())["source"] for path in sorted((project / "specs/releases").iterdir())]
    assert sources == ["/models/first/final", "/models/second/final"]
    first = recipes / "first.json"
    edit(first, "/models/first", "/models/third")
    adopt([first], "other")
    weights = yaml.safe_load((project / "specs/other/first.yaml").read_text())["init"]["weights"]
    release = yaml.safe_load((project / f"specs/releases/{weights['release']}.yaml").read_text())
    assert release["source"] == "/models/third/final"


def test_what_others_wrote_is_only_text(project: Path) -> None:
    recipes = project / "recipes"
    recipes.mkdir()
    text = (SOUND / "arguments_json/training_args.json").read_text()
    path = r"out\"]\n\u2028sources: [x]: {y}"
    (recipes / "a.json").write_text(replaced(text, "{\n", f'{{\n  "model_name_or_path": "{path}",\n'))
    adopt([recipes], "mine")
    (release,) = (project / "specs/releases").iterdir()
    assert "sources: [x]: {y}" in yaml.safe_load(release.read_text())["source"]
    assert re.fullmatch(r"[a-z0-9_]+\.yaml", release.name)


def test_nothing_is_left_behind_where_it_fails(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written(project)
    with pytest.raises(UsageError, match="specs/tiny is there already"):
        adopt([SOUND / "factory"], "tiny")
    with pytest.raises(UsageError, match="--as: found 'No Name'"):
        adopt([SOUND / "factory"], "No Name")

    def fails(*_: object) -> None:
        raise UserError("as if it did not load")

    monkeypatch.setattr(Project, "resolve", fails)
    with pytest.raises(UserError, match="as if"):
        adopt([SOUND / "factory"], "mine")
    assert written(project) == before
