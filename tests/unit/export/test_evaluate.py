"""`stages evaluate`: the numbers of eval.json come again, others beside them, and no bit of the result moves."""

from __future__ import annotations

import json
import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from stages.commands.evaluate import evaluate
from stages.errors import UserError
from stages.evals.heldout import Heldout


def found(root: Path, ref: str, capsys: pytest.CaptureFixture[str], *tasks: str) -> dict[str, Any]:
    capsys.readouterr()
    with chdir(root):
        evaluate(ref, "mini", tasks, as_json=True)
    return json.loads(capsys.readouterr().out)


def bits(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_numbers_of_eval_json_come_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished / "results/mini/plain/tuned"
    before, known = bits(folder), json.loads((folder / "eval.json").read_text())["after"]
    assert found(finished, "plain/tuned", capsys, "validation_loss,answers") == known
    assert bits(folder) == before


def test_others_than_the_spec_names(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = found(finished, "plain/looped", capsys, "loops", "validation_loss")
    assert sorted(made["loops"]) == ["1", "2", "3"]
    assert made["validation"]["loss"] == pytest.approx(made["loops"]["3"], rel=1e-12)


def test_a_kept_stage_is_evaluated_on_its_parents_corpora(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, text = (found(finished, f"toy/{name}", capsys, "validation_loss") for name in ("kept", "text"))
    assert kept == text


def test_as_a_table(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    with chdir(finished):
        evaluate("plain/base", "mini", ["validation_loss"], as_json=False)
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert lines.keys() == {"validation.loss", "validation.tokens", "validation.by_corpus.math"}


@pytest.mark.parametrize(
    ("ref", "task", "message"),
    [
        ("plain/later", "loop", r"--tasks: found 'loop'; allowed: validation_loss, .* Did you mean 'loops'"),
        ("plain/base", "loops", r"--tasks: loops needs a module of family ouro, which plain/base does not have"),
        ("plain/base", "answers", r"--tasks: answers needs a corpus of kind sft, which plain/base does not have"),
        ("plain/later", "validation_loss", r"plain/later is missing"),
    ],
)
def test_what_cannot_be_evaluated(
    ref: str, task: str, message: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=message):
        found(finished, ref, capsys, task)


def test_not_on_damaged_documents(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "project"))
    tokens = root / "results/mini/data/math/tokens.bin"
    data = bytearray(tokens.read_bytes())
    data[-5] ^= 1
    tokens.write_bytes(data)
    with pytest.raises(UserError, match=r"corpus math cannot be used: .*tokens.bin: expected blake3"):
        found(root, "plain/base", capsys, "validation_loss")


def test_what_is_no_number_is_refused_as_in_a_run(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every held-out conversation is longer than a row, the mean loss of no answer is no number."""
    monkeypatch.setattr(Heldout, "rows", lambda *given: [])
    with pytest.raises(UserError, match=r"plain/tuned: evaluated as it is: answers.loss is nan; allowed: finite numb"):
        found(finished, "plain/tuned", capsys, "answers")
    assert capsys.readouterr().out == ""
