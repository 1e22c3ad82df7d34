"""Every kind of defect is found at its file and line, and a sound recipe has no finding."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.audit import run
from stages.audit.finding import KINDS, Finding
from tests.edits import edit
from tests.unit.audit import planted_formats, planted_more, planted_scripts, planted_settings, planted_wild
from tests.unit.audit.planted import DEFECTS, SOUND, Defect

EVERY = (
    *DEFECTS,
    *planted_formats.DEFECTS,
    *planted_more.DEFECTS,
    *planted_scripts.DEFECTS,
    *planted_settings.DEFECTS,
    *planted_wild.DEFECTS,
)


def audited(folder: Path) -> list[Finding]:
    return run.findings(run.read([folder]))


def planted(defect: Defect, folder: Path) -> Path:
    """A copy of the sound recipe with the defect."""
    copy = folder / defect.file.split("/")[0]
    shutil.copytree(SOUND / copy.name, copy)
    edit(folder / defect.file, defect.old, defect.new)
    return copy


@pytest.mark.parametrize("folder", sorted(SOUND.iterdir()), ids=lambda one: one.name)
def test_a_sound_recipe_has_no_finding(folder: Path) -> None:
    assert audited(folder) == []


@pytest.mark.parametrize("defect", EVERY, ids=str)
def test_a_planted_defect_is_found_at_its_line_with_what_it_costs(defect: Defect, tmp_path: Path) -> None:
    found = audited(planted(defect, tmp_path))
    assert sorted({one.kind for one in found}) == sorted({defect.kind, *defect.also})
    (one,) = [one for one in found if one.kind == defect.kind]
    mark = defect.at if defect.at is not None else defect.new
    where = tmp_path / (defect.in_file or defect.file)
    text = where.read_text()
    line = text[: text.index(mark)].count("\n") + 1
    assert (one.where.file, one.where.line) == (where.name, line)
    assert one.certain == defect.certain
    if defect.tokens is not None:
        assert one.tokens == defect.tokens


def test_sizes_are_those_of_the_nearest_ancestor_that_states_them(tmp_path: Path) -> None:
    shutil.copytree(SOUND / "megatron_three", tmp_path / "three")
    decay, long = tmp_path / "three/02_decay.sbatch", tmp_path / "three/03_long.sbatch"
    edit(decay, '"${MODEL[@]}"', "$(python model.py)")
    assert audited(tmp_path / "three") == []
    edit(long, "${TOKENIZER[@]} $(rows", "${TOKENIZER[@]} --kv-channels 96 $(rows")
    found = [(one.kind, one.expected) for one in audited(tmp_path / "three")]
    assert ("model-changed", "128, as 01_stable.sbatch") in found


def test_a_slip_that_several_runs_share_is_said_once(tmp_path: Path) -> None:
    shutil.copytree(SOUND / "megatron_three", tmp_path / "three")
    common = tmp_path / "three/common.sh"
    edit(common, "--clip-grad 1.0", "--clip-grad 1.0 --clip-grad 2.0")
    assert [one.kind for one in audited(tmp_path / "three")] == ["flag-twice"]


def test_every_kind_has_a_planted_defect() -> None:
    assert {one.kind for one in EVERY} == set(KINDS)
