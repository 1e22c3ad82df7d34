"""The command's exit codes and what it leaves unimported."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def stages(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stages", *words], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "No such command"),
        (["list", "--scale", "tiny"], "found 'tiny'; allowed:"),
        (["show", "ouro/nope"], "no stage 'ouro/nope'; there are: ouro/"),
        (["check", "specs/ouro/pipeline.yaml"], "Did you mean 'ouro'?"),
        (["run", "results/mini/ouro/warmup/"], "Did you mean 'ouro/warmup'?"),
        (["check", "mini"], "mini is a scale: --scale mini."),
        (["show", "warmup"], "warmup is a stage: did you mean 'ouro/warmup'?"),
        (["batch", "warmup", "--step", "1"], "found 'warmup'; allowed: pipeline/stage, such as ouro/warmup."),
        (["run", "warmup"], "warmup is a stage: did you mean 'ouro/warmup'?"),
        (["run", "our/warmup"], "no stage 'our/warmup'; there are: pipelines kimi_vl, "),
        (["check", "specs/ouro/warmup.yaml"], "Did you mean 'ouro/warmup'?"),
        (["show", "ouro/warmup.yaml"], "Did you mean 'ouro/warmup'?"),
        (["run", "ouro__warmup"], "Did you mean 'ouro/warmup'?"),
        (["plan", "ouro/warmpu"], "Did you mean 'ouro/warmup'?"),
        (["plan", "ouro/stable_1@2T"], "no stage starts there, so it is no point of stable_1 yet"),
        (["plan", "ouro_seed003/warmup"], "comes out as ouro/warmup does, and is planned there: `stages plan ouro/"),
        (["report", "ouro/warmup", "--out", "a"], "ouro/warmup is a stage: did you mean 'ouro'?"),
        (["where", "prose", "1", "--pipeline", "ouro/warmup"], "ouro/warmup is a stage: did you mean 'ouro'?"),
        (["new", "mine", "--from", "ouro/warmup"], "Did you mean 'ouro'?"),
        (["sweep", "ouro/warmpu"], "no stage 'ouro/warmpu'; there are: ouro/warmup, "),
        (["sweep", "ouro/warmup"], "ouro/warmup: no stage with `variants`; ouro has none."),
        (["sweep", "ouro"], "ouro is a pipeline; allowed: one of its stages, ouro/STAGE: warmup, "),
        (["data", "specs/data/prose.yaml"], "Did you mean 'prose'?"),
        (["run", "ouro"], "ouro is a pipeline; allowed: one of its stages, ouro/STAGE: warmup, "),
        (["batch", "ouro", "--step", "1"], "ouro is a pipeline; allowed: one of its stages, ouro/STAGE: warmup, "),
        (["sweep", "ouro/warmup", "--out", "a.jpg"], "--out: found 'a.jpg'; allowed: a file that ends in .png."),
        (["data", "pros"], "no corpus 'pros'; there are: captions"),
        (["audit", "nothing-here"], "no such file or folder"),
        (["gc"], "gc: found neither --dry-run nor --delete; allowed: --dry-run (list) or --delete (remove)"),
        (["show", "ouro/stable_1@2T"], "no stage starts there, so it is no point of stable_1 yet"),
        (["new", "Bad-Name", "--from", "ouro"], "small letters"),
        (["new", "mine", "--from", "nothing"], "found 'nothing'; allowed:"),
    ],
)
def test_a_wrong_command_line_ends_with_two_and_no_traceback(words: list[str], said: str) -> None:
    done = stages(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_below_the_project_the_hints_are_the_same() -> None:
    done = stages("show", "warmup", cwd=ROOT / "specs" / "ouro")
    assert "warmup is a stage: did you mean 'ouro/warmup'?" in done.stderr


def test_an_interpreter_without_the_packages_is_one_line() -> None:
    words = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import stages.__main__ as one; one.main()",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"stages: {sys.executable} has no package typer. Activate the environment")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("word", "said"),
    [("ENGINE=nem", "ENGINE: found 'nem'; allowed: torch, nemo"), ("SCALE=small", "snakemake --config scale=small")],
)
def test_make_refuses_what_it_does_not_read(word: str, said: str) -> None:
    done = subprocess.run(["make", "-n", "mini", word], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_help_is_wrapped_to_the_terminal_and_shows_brackets() -> None:
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    words = [sys.executable, "-m", "stages", "compare", "--help"]
    said = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False).stdout
    assert "PIPELINE/STAGE[@SCALE|@KEY|@REV]" in said
    words[3] = "audit"
    said = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False).stdout
    assert "OLMo, OLMo-core, torchtitan" in said, "lines of the text are joined, then wrapped"


def test_the_command_alone_says_what_to_begin_with() -> None:
    said = stages().stdout.split()
    assert said.count("init") == 2, "in the list of commands, and below it"


def test_outside_a_project_the_command_says_so(tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(ROOT), "PATH": ""}
    words = [sys.executable, "-m", "stages", "list"]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "A project is a directory with specs/" in done.stderr
    assert "`stages init DIR --example tiny`" in done.stderr


def test_reading_words_never_import_torch() -> None:
    code = (
        "import sys; import stages.cli, stages.commands.listing, stages.commands.status, stages.commands.sync, "
        "stages.commands.check, stages.commands.run, stages.sync.workflow, stages.commands.export, "
        "stages.commands.generate, stages.commands.evaluate; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_an_interrupt_that_nothing_handles_is_one_line() -> None:
    code = "from stages.commands.interrupted import say_interrupts; say_interrupts(); raise {}"
    for error, said in (("KeyboardInterrupt", "stopped by Ctrl-C"), ("ValueError(3)", "Traceback")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(error)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert done.stderr.strip().startswith(said)
        assert ("Traceback" in done.stderr) == (said == "Traceback")


def test_a_stage_edited_since_snakemake_was_started_is_not_run() -> None:
    done = stages("run", "ouro/warmup", "--marker", f"results/.markers/mini/ouro/warmup.{'a' * 32}")
    assert done.returncode == 1
    assert f"it awaits warmup.{'a' * 32}, and now this would be warmup." in done.stderr
    assert "Start Snakemake again" in done.stderr


def test_an_interrupt_while_the_command_is_loaded_has_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    words, env = [sys.executable, "-m", "stages", "list"], {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_installed_command_is_the_one_that_python_m_starts() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts == {"stages": "stages.__main__:main"}
