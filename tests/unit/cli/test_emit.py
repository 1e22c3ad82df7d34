"""`stages emit` prints a script that a shell understands, and refuses what it does not know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stages.commands.emit import print_engine_config, print_script
from stages.errors import SpecError, UsageError, UserError
from tests.edits import replaced
from tests.unit.spec import small_project

ROOT = Path(__file__).parents[3]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project in a folder whose name a shell would take apart, which is also the working directory."""
    root = tmp_path / "it's $HOME"
    root.mkdir()
    monkeypatch.chdir(small_project.write(root))
    return root


def test_the_command_is_the_rules_own_with_the_releases_folder(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (toy / "given").mkdir()
    print_script("toy/first", "mini", Path("given"))
    text = replaced(capsys.readouterr().out, "exec ", "printf '%s\\n' ")
    words = subprocess.run(["bash"], input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    assert words == [
        *(sys.executable, "-m", "stages", "run", "toy/first", "--scale", "mini"),
        *("--releases", str(toy / "given")),
    ]


def test_it_runs_in_the_project_wherever_it_is_submitted(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_script("toy/first", "mini", None)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "--chdir" in line]
    assert subprocess.run(
        ["bash", "-c", f"printf %s {line.partition('=')[2]}"], capture_output=True, text=True
    ).stdout == (str(toy))


def test_a_project_whose_path_has_a_line_break_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows it would be a line of the script, which is run."""
    root = tmp_path / "a\ntouch pwned"
    root.mkdir()
    monkeypatch.chdir(small_project.write(root))
    with pytest.raises(UserError, match=r"a path with a control character, as a line break, .*Rename the directory"):
        print_script("toy/first", "mini", None)


def test_an_unknown_stage_is_refused_with_those_there_are(toy: Path) -> None:
    with pytest.raises(UsageError, match="no stage 'toy/frist'; there are: toy/first, toy/second"):
        print_script("toy/frist", "mini", None)


def test_a_folder_of_releases_that_is_not_there_is_refused(toy: Path) -> None:
    with pytest.raises(UsageError, match="--releases: nowhere is not a folder"):
        print_script("toy/first", "mini", Path("nowhere"))


def test_a_mistake_about_the_site_is_told_with_its_line(toy: Path) -> None:
    (toy / "slurm").mkdir()
    (toy / "slurm/site.yaml").write_text("partiton: main\n")
    with pytest.raises(SpecError, match=r"slurm/site.yaml:1: partiton: found the unknown key"):
        print_script("toy/first", "mini", None)


def test_an_engine_without_a_configuration_says_so(toy: Path) -> None:
    with pytest.raises(
        UsageError, match=r"toy/first: found engine torch at scale mini; allowed: stages of engine nemo"
    ):
        print_engine_config("toy/first", "mini")


def test_the_nemo_engines_configuration_is_printed_for_each_phase(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    print_engine_config("kimi_vl/joint_longctx", "mini_nemo")
    said = capsys.readouterr().out
    assert said.count("--- # kimi_vl/joint_longctx ") == 2
    assert "micro_batch_size:" in said
