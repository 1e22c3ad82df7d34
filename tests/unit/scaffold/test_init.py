"""`stages init`: what it makes runs at once, and where it cannot make it, nothing is changed and the reason is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.errors import UsageError, UserError
from stages.scaffold import contents, init, record, shipped
from stages.store import files, here, trees
from stages.store.digest import digest_bytes

ROOT = Path(__file__).resolve().parents[3]
MADE = {"Snakefile", "dvc.yaml", "rules", "specs", "profiles", "slurm", "ci.sh", "README.md", "requirements.txt"}


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a directory but git's own."""
    return {path: (folder / path).read_bytes() for path in trees.files_under(folder) if not path.startswith(".git/")}


def stages(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = (sys.executable, "-m", "stages", *words)
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["x", "a b", "größe", "-x", "it's", "a/b/c", "x" * 255])
def test_a_project_is_made_at_any_path_and_has_nothing_to_be_mended(tmp_path: Path, name: str) -> None:
    made = init.create(tmp_path / name, "tiny")
    assert made == tmp_path / name
    assert set(os.listdir(made)) >= MADE
    assert (made / ".git").is_dir()
    for words in (("check",), ("sync", "--check")):
        done = stages(*words, cwd=made)
        assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name.partition("/")[0]]


def test_the_base_is_this_repositorys_own() -> None:
    base = contents.base()
    for path in ("Snakefile", "rules/common.smk", "profiles/default/config.yaml", "slurm/config.yaml", ".dvc/config"):
        assert base[path] == (ROOT / path).read_bytes()
    assert shipped.root() == ROOT


def test_the_record_has_the_digest_of_every_file_of_the_base(tmp_path: Path) -> None:
    made = init.create(tmp_path / "x", "tiny")
    kept = record.read(made)
    assert kept is not None
    assert kept.files == {path: digest_bytes((made / path).read_bytes()) for path in contents.BASE}


def test_two_projects_are_the_same_bytes(tmp_path: Path) -> None:
    first, second = (everything(init.create(tmp_path / name, "tiny")) for name in ("x", "y"))
    assert first == second


def test_the_first_pipeline_is_at_most_twenty_files() -> None:
    assert len(contents.example("tiny")) <= 20


def test_an_empty_directory_becomes_the_project(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert set(os.listdir(init.create(tmp_path / "x", "tiny"))) >= MADE


def _full(place: Path) -> None:
    place.mkdir()
    (place / "mine").write_text("mine")


def _hidden(place: Path) -> None:
    place.mkdir()
    (place / ".git").mkdir()


def _link(place: Path) -> None:
    (place.parent / "elsewhere").mkdir()
    place.symlink_to("elsewhere")


REFUSED = {
    "a directory with files in it": _full,
    "a directory with files": _hidden,
    "a file": lambda place: place.write_text("mine"),
    "a link": _link,
    "is a link": lambda place: place.symlink_to("nowhere"),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_there_is_refused_and_stays_as_it_is(tmp_path: Path, said: str) -> None:
    place = tmp_path / "x"
    REFUSED[said](place)
    before, names = everything(tmp_path), sorted(os.listdir(tmp_path))
    with pytest.raises(UsageError, match=said):
        init.create(place, "tiny")
    assert (everything(tmp_path), sorted(os.listdir(tmp_path))) == (before, names)


def test_the_current_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"the current directory.*cd .. && stages init {tmp_path.name}$"):
        init.create(Path(), "tiny")
    assert os.listdir(tmp_path) == []


def test_inside_a_project_none_is_made(tmp_path: Path) -> None:
    outer = init.create(tmp_path / "outer", "tiny")
    before = everything(outer)
    for place in (outer / "x", outer / "specs/x", ROOT / "x"):
        with pytest.raises(UsageError, match="inside the project"):
            init.create(place, "tiny")
    assert everything(outer) == before


def test_below_a_file_none_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="file is not a directory"):
        init.create(tmp_path / "file/deeper/x", "tiny")


def test_where_nothing_can_be_written_the_place_is_named_and_what_to_do() -> None:
    with pytest.raises(UserError, match=r"/proc/.*another place\.$"):
        init.create(Path("/proc/x"), "tiny")


def test_in_a_git_repository_no_second_one_is_made(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    made = init.create(tmp_path / "x", "tiny")
    assert not (made / ".git").exists()
    assert (made / ".dvc/config").is_file()


def test_gits_variables_of_a_hook_do_not_decide_where_the_repository_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))
    assert (init.create(tmp_path / "x", "tiny") / ".git").is_dir()
    assert not (tmp_path / "other").exists()


def test_without_git_the_project_is_made_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init.shutil, "which", lambda name: None)
    made = init.create(tmp_path / "x", "tiny")
    assert not (made / ".git").exists()
    assert set(os.listdir(made)) >= MADE


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(1000))
    real = files.disk.write

    def write(handle: int, data: memoryview) -> int:
        if next(calls) == 15:
            raise OSError(28, "No space left on device")
        return real(handle, data)

    monkeypatch.setattr(files.disk, "write", write)
    with pytest.raises(UserError, match="No space left on device"):
        init.create(tmp_path / "x", "tiny")
    assert os.listdir(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from stages.scaffold import init
from stages.store import files, trees
calls, last = iter(range(1000)), int(sys.argv[2])
real = files.disk.{what}
def counted(*words):
    if next(calls) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*words)
files.disk.{what} = counted
init.create(Path(sys.argv[1]), "tiny")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("what", "last"), [("create", 0), ("create", 9), ("create", 25), ("fsync", 12), ("rename", 0)])
def test_killed_at_any_moment_there_is_no_project_and_the_next_call_makes_it(
    tmp_path: Path, what: str, last: int
) -> None:
    place = tmp_path / "x"
    words = [sys.executable, "-c", KILLED.format(what=what), str(place), str(last)]
    assert subprocess.run(words, cwd=ROOT, check=False).returncode == -9
    assert not place.exists()
    made = init.create(place, "tiny")
    assert os.listdir(tmp_path) == ["x"]
    assert everything(made) == everything(init.create(tmp_path / "y", "tiny"))


def test_what_another_process_is_making_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / f"{init.MARK}{here.process().removesuffix(str(os.getpid()))}{os.getppid()}"
    other.mkdir()
    init.create(tmp_path / "x", "tiny")
    assert other.is_dir()


def test_a_directory_of_the_users_own_with_a_name_like_a_leftover_stays(tmp_path: Path) -> None:
    start = f"{init.MARK}{here.process().removesuffix(str(os.getpid()))}"
    mine = [tmp_path / f"{start}{end}" for end in ("mine", "12.mine", str(10**12))]
    for folder in mine:
        folder.mkdir()
    init.create(tmp_path / "x", "tiny")
    assert all(folder.is_dir() for folder in mine)


def test_control_characters_of_a_name_are_spelled_out(tmp_path: Path) -> None:
    done = stages("init", "a\x1b[31m\nb", cwd=tmp_path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "\\x1b[31m" in done.stdout


def test_of_two_calls_at_once_one_makes_the_project_and_the_other_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stages", "init", "x"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    calls = [
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [call.communicate()[1] for call in calls]
    assert sorted(call.returncode for call in calls) == [0, 2]
    assert "Traceback" not in "".join(said)
    assert os.listdir(tmp_path) == ["x"]
    assert stages("check", cwd=tmp_path / "x").returncode == 0


def test_an_unknown_example_is_refused_with_those_there_are(tmp_path: Path) -> None:
    done = stages("init", "x", "--example", "tinny", cwd=tmp_path)
    assert done.returncode == 2
    assert "--example: found 'tinny'; allowed: tiny" in done.stderr
    assert os.listdir(tmp_path) == []
