"""The exit code of every command, in every case that docs/commands.md has in its table."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from stages import cli, cli_audit, cli_finished, cli_forensics, cli_inputs, cli_project, cli_results, engines
from stages.check.gate import Gate
from stages.spec.project import Project
from stages.store.layout import Layout
from stages.train.stopping import StoppedError
from tests.faults import finished_project
from tests.unit.spec import small_project

ROOT = Path(__file__).resolve().parents[3]
Code = Callable[..., int]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A small project with a finished pipeline, which is also the working directory, without Slurm and git."""
    layout = finished_project.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return layout


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Code:
    """Type a command; its exit code. No command ends with a traceback."""

    def typed(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["stages", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert "Traceback" not in capsys.readouterr().err
        return int(ended.value.code or 0)

    return typed


def table() -> list[str]:
    """The commands of the table: its rows are of one or of several."""
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`stages .*?) \| .* \|$", text.partition("## Exit codes")[2], re.MULTILINE)
    return sorted(re.findall(r"`stages ([a-z-]+)`", " ".join(rows)))


def test_the_table_has_a_row_for_every_command() -> None:
    parts = (cli, cli_inputs, cli_results, cli_project, cli_finished, cli_forensics, cli_audit)
    commands = [command for part in parts for command in part.app.registered_commands]
    names = {command.name or getattr(command.callback, "__name__", "") for command in commands}
    assert table() == sorted(names)


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["list", "toy/first"],
        ["show", "toy"],
        ["show", "toy/first"],
        ["check", "toy/first", "toy_variant", "--only", "I-04"],
        ["history", "toy/first"],
        ["table", "toy/first", "--json"],
        ["schema"],
        ["new", "mine", "--from", "toy"],
        ["check", "--only", "I-04"],
        ["check", "--explain", "I-04"],
        ["compare", "toy/first", "toy/first"],
        ["sync"],
        ["run", "toy/first"],
        ["status", "toy", "--deep"],
        ["table"],
        ["gc", "--dry-run"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_0_where_all_is_well(words: list[str], project: Layout, code: Code) -> None:
    assert code(*words) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["check"],
        ["sync", "--check"],
        ["run", "toy_variant/release"],
        ["emit", "toy_variant/second"],
        ["data", "code"],
        ["tokenizer", "mine"],
        ["release", "mine", "."],
        ["status"],
        ["table", "--scale", "paper"],
        ["record-dvc"],
        ["history", "toy_variant/second"],
        *(
            [word, "toy_variant/second", *more]
            for word, *more in (
                ("generate", "--prompt", "x"),
                ("evaluate", "--tasks", "answers"),
                ("export", "out", "--dtype", "fp32"),
                ("replay", "--steps", "1"),
                ("spike",),
            )
        ),
        ["where", "code", "1"],
    ],
    ids=" ".join,
)
def test_1_where_a_spec_or_a_result_is_wrong(words: list[str], project: Layout, code: Code) -> None:
    for kind in ("tokenizer", "release"):
        path = project.root / f"specs/{kind}s/mine.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{kind}: mine\n")
    assert code(*words) == 1


@pytest.mark.parametrize(
    "words",
    [
        *([word] for word in ("list", "check", "sync", "status", "table", "pictures", "record-dvc")),
        *([word, "toy/first"] for word in ("show", "run", "emit")),
        ["batch", "toy/first", "--step", "1"],
        ["gc", "--dry-run"],
        ["new", "mine", "--from", "toy"],
    ],
    ids=" ".join,
)
def test_1_where_a_spec_cannot_be_read(words: list[str], project: Layout, code: Code) -> None:
    small_project.edit(project.root, "toy/first.yaml", "kind: train", "kind: trian")
    assert code(*words) == 1


def test_1_where_a_result_to_be_compared_cannot_be_read(project: Layout, code: Code) -> None:
    (project.stage("toy/first") / "run.json").write_text("{")
    assert code("compare", "toy/first", "toy/first") == 1


@pytest.mark.parametrize("words", [["status", "toy", "--deep"], ["status", "toy", "--deep", "--json"]], ids=" ".join)
def test_1_where_a_deep_look_finds_damage(words: list[str], project: Layout, code: Code) -> None:
    path = project.stage("toy/second") / "model/llm/model.safetensors"
    path.write_bytes(b"wEights")
    assert code("status", "toy") == 0
    assert code(*words) == 1
    assert code("status", "toy") == 1, "noted"
    assert code("run", "toy/release") == 1


def test_1_where_a_deep_look_finds_a_damaged_checkpoint(project: Layout, code: Code) -> None:
    """Of a stage that was asked to stop, which is nothing wrong by itself."""
    key = Project.load(project.root).keys("mini")["toy_variant/second"]
    attempt = project.run(key) / "attempt-0001"
    (attempt / "finding.json").write_text('{"message": "stopped", "step": 3, "stopped": true}')
    assert code("status", "--deep") == 0
    (attempt / "partial-000000003/counters.json").write_text('{"steps": 4}')
    assert code("status") == 0
    assert code("status", "--deep") == 1


def test_1_where_a_table_leaves_a_result_out(project: Layout, code: Code) -> None:
    (project.stage("toy/first") / "run.json").write_text("{")
    assert code("table") == 1
    assert code("table", "toy/release") == 0


@pytest.mark.parametrize(
    "words",
    [
        *(
            [word, "--nonsense"]
            for word in ("list", "check", "plan", "status", "table", "pictures", "schema", "record-dvc")
        ),
        ["show", "toy/nothing"],
        ["new", "Bad-Name", "--from", "toy"],
        ["check", "--only", "I-999"],
        ["plan", "nothing"],
        ["diff", "no-such-revision"],
        ["compare", "toy/first", "toy/nothing"],
        ["sync", "--scale", "nothing"],
        ["run", "toy/nothing"],
        ["emit", "toy/nothing"],
        ["data"],
        ["status", "nothing"],
        ["gc"],
        ["gc", "--dry-run", "--delete"],
        ["frobnicate"],
    ],
    ids=" ".join,
)
def test_2_where_the_command_line_is_wrong(words: list[str], project: Layout, code: Code) -> None:
    assert code(*words) == 2


def test_75_where_a_run_was_asked_to_stop_and_goes_on_later(
    project: Layout, code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise StoppedError("toy_variant/second: stopped after step 3")

    small_project.edit(project.root, "toy_variant/second.yaml", "budget: 1B", "budget: 1.5B")
    monkeypatch.setattr(engines, "run", stopped)
    monkeypatch.setattr(Gate, "refuse", lambda *_: None)
    for check in ("refuse_damaged_corpora", "_refuse_short"):
        monkeypatch.setattr(f"stages.commands.run.{check}", lambda *_: None)
    assert code("run", "toy_variant/second") == 75
