"""A name or path on the command line that is not there ends every command with 2, before anything else is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from stages import cli, cli_audit, cli_finished, cli_forensics, cli_inputs, cli_project, cli_results
from stages.scaffold import init
from tests.unit.spec import small_project

EXPORT, TASK = ("out", "--dtype", "fp32"), ("--lm-eval", "gsm8k")
# Command -> command lines, each with one name that is not there: `nothing`.
LINES: dict[str, list[tuple[str, ...]]] = {
    **{word: [("nothing",), ("toy/nothing",)] for word in ("check", "emit", "history", "list", "plan", "run", "show")},
    **{word: [("nothing",), ("toy/nothing",)] for word in ("spike", "status", "sweep", "table", "track", "watch")},
    "adopt": [("nothing", "--as", "mine")],
    "audit": [("nothing",)],
    "batch": [("toy/nothing", "--step", "1"), ("toy/first", "--step", "999999999")],
    "compare": [("toy/nothing", "toy/first"), ("toy/first@nothing", "toy/first"), ("nothing/", "toy/first")],
    "data": [("nothing",), ("nothing", "--accept"), ("nothing", "--show", "1")],
    "diff": [("nothing",), ("--hardware", "nothing")],
    "evaluate": [
        *[("toy/nothing",), ("toy/nothing", "--tasks", "answers"), ("toy/nothing", *TASK)],
        *[("toy/first", "--tasks", "nothing"), ("toy/first", *TASK, "--lm-eval-tasks", "nothing")],
        ("toy/first", *TASK, "--lm-eval-python", "nothing"),
    ],
    "export": [
        *[("toy/nothing", *EXPORT), ("toy/first", "out", "--dtype", "nothing")],
        ("toy/first", *EXPORT, "--licence", "MIT", "--licence-file", "nothing"),
    ],
    "generate": [("toy/nothing", "--prompt", "x")],
    "init": [("mine", "--example", "nothing")],
    "new": [("mine", "--from", "nothing")],
    "release": [("nothing", "."), ("nothing", ".", "--accept"), ("there", "nothing"), ("there", "nothing", "--accept")],
    "replay": [
        ("toy/nothing", "--steps", "1"),
        ("toy/nothing",),
        ("toy/first", "--steps", "1", "--releases", "nothing"),
    ],
    "report": [("nothing", "--out", "out"), ("toy/nothing", "--out", "out")],
    "sign": [("toy/nothing", "--key", "key.pem"), ("toy/first", "--key", "nothing")],
    "tokenizer": [("nothing",), ("nothing", "--accept")],
    "verify": [("nothing", "--key", "public.pem"), ("specs", "--key", "nothing")],
    "where": [("nothing", "1"), ("code", "1", "--pipeline", "nothing")],
}
LINES["check"] += [("--only", "nothing"), ("--explain", "nothing")]
LINES["plan"].append(("--hardware", "nothing"))
LINES["run"].append(("toy/first", "--releases", "nothing"))
LINES["emit"].append(("toy/first", "--releases", "nothing"))
LINES["spike"].append(("toy/first", "--releases", "nothing"))
LINES["verify"].append(("specs", "--key", "public.pem", "--releases", "nothing"))
AT_A_SCALE = {
    **dict.fromkeys(("list", "check", "plan", "diff", "sync", "status", "watch", "track", "table", "pictures"), ()),
    **dict.fromkeys(("show", "run", "emit", "evaluate", "history", "replay", "spike", "sweep"), ("toy/first",)),
    **{"batch": ("toy/first", "--step", "1"), "compare": ("toy/first", "toy/second"), "data": ("code",)},
    **{"export": ("toy/first", *EXPORT), "generate": ("toy/first", "--prompt", "x"), "report": ("--out", "out")},
    **{"sign": ("toy/first", "--key", "key.pem"), "where": ("code", "1")},
}
NAMELESS = {"schema", "upgrade", "gc", "record-dvc"}  # they take no name of anything that has to be there


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = small_project.write(tmp_path_factory.mktemp("project"))
    (root / "specs/releases").mkdir(exist_ok=True)
    (root / "specs/releases/there.yaml").write_text(
        "release: there\nsource: nowhere\nrevision: none\nlicence: MIT\narchitecture: LlamaForCausalLM\n"
        f'digest: "{"0" * 64}"\n'
    )
    public = Ed25519PrivateKey.generate().public_key()
    (root / "public.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    init.init_git(root)
    return root


def typed(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["stages", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_every_command_is_asked() -> None:
    parts = (cli, cli_inputs, cli_results, cli_project, cli_finished, cli_forensics, cli_audit)
    commands = [command for part in parts for command in part.app.registered_commands]
    names = {command.name or getattr(command.callback, "__name__", "") for command in commands}
    assert names == LINES.keys() | AT_A_SCALE.keys() | NAMELESS


@pytest.mark.parametrize(
    "words",
    [
        *((command, *words) for command, lines in LINES.items() for words in lines),
        *((command, *words, "--scale", "nothing") for command, words in AT_A_SCALE.items()),
    ],
    ids=" ".join,
)
def test_a_name_that_is_not_there_ends_with_two(
    words: tuple[str, ...], project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    before = sorted(project.rglob("*"))
    assert typed(words, monkeypatch) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "nothing" in said.err or "999,999,999" in said.err
    assert not said.out
    assert sorted(project.rglob("*")) == before
