"""`stages upgrade`: a newer version's base is taken over, and nothing that a person edited or removed is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.errors import UserError
from stages.scaffold import contents, init, record, upgrade
from stages.store import files
from stages.store.digest import digest_bytes
from tests.edits import replaced
from tests.unit.scaffold.test_init import ROOT, everything

NEWER = b"# a newer Snakefile\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return init.create(tmp_path / "x", "tiny")


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A version with another Snakefile and another ci.sh, a new file, and without .dvcignore."""
    base = contents.base()
    found = {**base, "Snakefile": NEWER, "ci.sh": b"#!/bin/sh\ntrue\n", "rules/more.txt": b"more\n"}
    del found[".dvcignore"]
    monkeypatch.setattr(contents, "base", lambda: found)
    return found


def kinds(found: list[upgrade.Change]) -> dict[str, str]:
    return {one.path: one.kind for one in found}


def test_a_project_that_nobody_edited_has_the_new_base_and_no_more(project: Path, newer: dict[str, bytes]) -> None:
    before = everything(project)
    assert kinds(upgrade.upgrade(project)) == {
        "Snakefile": "replaced", "ci.sh": "replaced", "rules/more.txt": "wrote", ".dvcignore": "removed"
    }  # fmt: skip
    after = everything(project)
    assert {path: after[path] for path in newer} == newer
    assert after.keys() == before.keys() - {".dvcignore"} | {"rules/more.txt"}
    changed = {path for path in before if after.get(path) != before[path]}
    assert changed == {"Snakefile", "ci.sh", ".dvcignore", record.NAME}
    assert os.access(project / "ci.sh", os.X_OK)


def test_what_an_older_base_had_and_examples_have_now_is_the_users(project: Path) -> None:
    """CI installs requirements.txt; it was once of the base."""
    kept = record.read(project)
    assert kept is not None
    wrote = {path: digest_bytes((project / path).read_bytes()) for path in ("requirements.txt", "README.md")}
    assert list(upgrade.changes(project, {**kept.files, **wrote}, contents.base())) == []


def test_the_next_call_finds_nothing_to_do(project: Path, newer: dict[str, bytes]) -> None:
    upgrade.upgrade(project)
    after = everything(project)
    assert upgrade.upgrade(project) == []
    assert everything(project) == after


def test_an_edited_file_is_left_with_the_new_one_beside_it_once(project: Path, newer: dict[str, bytes]) -> None:
    (project / "Snakefile").write_text("# mine\n")
    found = upgrade.upgrade(project)
    assert kinds(found)["Snakefile"] == "edited"
    assert (project / "Snakefile").read_text() == "# mine\n"
    assert (project / "Snakefile.new").read_bytes() == NEWER
    (project / "Snakefile.new").unlink()
    assert upgrade.upgrade(project) == []  # it was offered, and the person decided
    assert not (project / "Snakefile.new").exists()


def test_what_only_the_user_changed_is_not_spoken_of(project: Path) -> None:
    (project / ".gitignore").write_text("mine\n")
    (project / "slurm/site.yaml").unlink()
    before = everything(project)
    assert upgrade.upgrade(project) == []
    assert everything(project) == before


def test_an_edit_that_the_version_made_too_is_no_conflict(project: Path, newer: dict[str, bytes]) -> None:
    (project / "Snakefile").write_bytes(NEWER)
    assert "Snakefile" not in kinds(upgrade.upgrade(project))


def test_a_removed_file_stays_removed_and_an_edited_obsolete_one_stays(project: Path, newer: dict[str, bytes]) -> None:
    (project / "ci.sh").unlink()
    (project / ".dvcignore").write_text("stages\nmine\n")
    found = kinds(upgrade.upgrade(project))
    assert (found["ci.sh"], found[".dvcignore"]) == ("missing", "obsolete")
    assert not (project / "ci.sh").exists()
    assert (project / ".dvcignore").read_text() == "stages\nmine\n"


def test_force_takes_all_of_the_new_base(project: Path, newer: dict[str, bytes]) -> None:
    (project / "Snakefile").write_text("# mine\n")
    (project / "ci.sh").unlink()
    (project / ".dvcignore").write_text("mine\n")
    assert not any(one.left for one in upgrade.upgrade(project, force=True))
    after = everything(project)
    assert {path: after[path] for path in newer} == newer
    assert ".dvcignore" not in after
    assert "Snakefile.new" not in after


def test_a_project_made_by_hand_gets_what_it_lacks_and_keeps_what_it_has(project: Path) -> None:
    (project / record.NAME).unlink()
    (project / "ci.sh").unlink()
    (project / "Snakefile").write_text("# mine\n")
    assert kinds(upgrade.upgrade(project)) == {"Snakefile": "edited", "ci.sh": "wrote"}
    kept = record.read(project)
    assert kept is not None
    assert kept.files == {path: digest_bytes(content) for path, content in contents.base().items()}


def test_nothing_is_written_through_a_link_that_leads_out(project: Path, newer: dict[str, bytes]) -> None:
    outside = project.parent / "outside"
    (project / "rules").rename(outside)
    (project / "rules").symlink_to(outside)
    before, names = everything(project), sorted(os.listdir(outside))
    with pytest.raises(UserError, match=r"rules/more.txt: leads out of the project"):
        upgrade.upgrade(project)
    assert (everything(project), sorted(os.listdir(outside))) == (before, names)


def test_a_file_that_is_a_link_is_replaced_and_not_followed(project: Path, newer: dict[str, bytes]) -> None:
    outside = project.parent / "mine"
    (project / "Snakefile").rename(outside)
    (project / "Snakefile").symlink_to(outside)
    before = outside.read_bytes()
    upgrade.upgrade(project)
    assert (project / "Snakefile").read_bytes() == NEWER
    assert outside.read_bytes() == before


def test_a_directory_in_the_place_of_a_file_is_named(project: Path, newer: dict[str, bytes]) -> None:
    (project / "Snakefile").unlink()
    (project / "Snakefile").mkdir()
    with pytest.raises(UserError, match="Snakefile: not a file"):
        upgrade.upgrade(project)


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 1, "stages": 1, "files": {}}', "\0"])
def test_a_record_that_is_none_is_named(project: Path, content: str) -> None:
    (project / record.NAME).write_text(content)
    with pytest.raises(UserError, match=r"\.stages\.json"):
        upgrade.upgrade(project)


@pytest.mark.parametrize("last", range(4))
def test_cut_off_before_any_write_the_next_call_does_the_rest(
    project: Path, newer: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    (project / "Snakefile").write_text("# mine\n")
    other = project.parent / "y"
    shutil.copytree(project, other, symlinks=True)
    upgrade.upgrade(other)
    calls, real = iter(range(100)), files.write_atomic

    def write(path: Path, data: bytes) -> None:
        if next(calls) == last:
            raise KeyboardInterrupt
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomic", write)
        with pytest.raises(KeyboardInterrupt):
            upgrade.upgrade(project)
    upgrade.upgrade(project)
    assert everything(project) == everything(other)


def stages(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages", *words]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_the_command_shows_what_was_left_and_ends_with_one(project: Path) -> None:
    (project / "Snakefile").write_text("# mine\n")
    kept = record.read(project)
    assert kept is not None
    older = record.encoded("0.0.9", {**kept.files, "Snakefile": "0" * 64})
    (project / record.NAME).write_bytes(older)
    done = stages(project, "upgrade")
    assert done.returncode == 1, done.stderr
    assert "left Snakefile: edited here, and changed by this version; the new one is Snakefile.new" in done.stdout
    assert "  -# mine" in done.stdout
    assert "0.0.9 → " in done.stdout
    again = stages(project, "upgrade")
    assert (again.returncode, "0 files of what every project has differed" in again.stdout) == (0, True)


def test_rules_and_dvc_yaml_follow(project: Path) -> None:
    for name in ("rules/tiny.smk", "dvc.yaml"):
        (project / name).unlink()
    assert stages(project, "upgrade").returncode == 0
    assert stages(project, "sync", "--check").returncode == 0


def test_a_project_of_specs_alone_at_another_scale_becomes_one_that_snakemake_runs(project: Path) -> None:
    for path in [*contents.BASE, record.NAME, "dvc.yaml", *(f"rules/{name}.smk" for name in ("data", "tiny"))]:
        (project / path).unlink()
    mini = project / "specs/scales/mini.yaml"
    mini.with_name("laptop.yaml").write_text(replaced(mini.read_text(), "scale: mini", "scale: laptop"))
    mini.unlink()
    assert stages(project, "upgrade").returncode == 0
    assert stages(project, "sync", "--check", "--scale", "laptop").returncode == 0
    words = [sys.executable, "-m", "snakemake", "--dry-run", "--config", "scale=laptop"]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tiny__sft" in done.stdout


def test_in_the_checkout_there_is_nothing_to_upgrade() -> None:
    done = stages(ROOT, "upgrade")
    assert done.returncode == 0
    assert "the command runs from here" in done.stdout


def test_outside_of_a_project_it_says_what_one_is(tmp_path: Path) -> None:
    done = stages(tmp_path, "upgrade")
    assert done.returncode == 2
    assert "`stages init DIR --example tiny`" in done.stderr


def test_a_record_that_cannot_be_read_is_named_with_what_to_do_and_nothing_is_written(project: Path) -> None:
    (project / record.NAME).write_text("{")
    before = everything(project)
    done = stages(project, "upgrade")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{record.NAME}: is not JSON (cut off at column 2). Take it from git; or remove it" in done.stderr
    assert everything(project) == before
    (project / record.NAME).unlink()
    (project / "ci.sh").write_text("# mine\n")
    assert kinds(upgrade.upgrade(project)) == {"ci.sh": "edited"}


def test_without_a_scale_every_command_says_so(project: Path) -> None:
    (project / "specs/scales/mini.yaml").unlink()
    for words in (("upgrade",), ("status",)):
        done = stages(project, *words)
        assert done.returncode == 1
        assert "specs/scales: no scale is there; allowed: at least one file" in done.stderr
        assert "Traceback" not in done.stderr
