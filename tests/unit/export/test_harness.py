"""lm-evaluation-harness reads an export, and what it finds is in eval.json, which stays whole."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from stages.commands.evaluate import evaluate_outside
from stages.commands.finished import finished as open_finished
from stages.errors import UsageError, UserError
from stages.export import harness
from stages.export.harness import Asked
from stages.store import done, manifest
from stages.store.layout import Layout
from tests.edits import edit
from tests.unit.export import test_families

LM_EVAL = "STAGES_LM_EVAL"
TASK = """\
task: tiny_sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/sums.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: " "
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1.0}}
"""


@pytest.fixture
def python() -> Path:
    """The interpreter of the environment that `make lm-eval` makes: other runs leave these tests to it."""
    if LM_EVAL not in os.environ:
        pytest.skip(f"needs lm-evaluation-harness: `make lm-eval`, or name an interpreter that has it in {LM_EVAL}")
    found = harness.interpreter(Path(os.environ[LM_EVAL]), Path.cwd())
    harness.version(found)
    return found


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "project"))


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Six sums with a right and a wrong answer each."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [{"question": f"{n} + 2 =", "choices": [str(n + 2), str(n + 3)], "answer": 0} for n in range(3, 9)]
    (folder / "sums.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "sums.yaml").write_text(TASK.format(folder=folder))
    return folder


def evaluated(
    root: Path, ref: str, *tasks: str, own: Path | None = None, python: Path | None = None, **how: Any
) -> Any:
    with chdir(root):
        evaluate_outside(ref, "mini", tasks, own, None, python, as_json=True)
    return json.loads((root / "results/mini" / ref / "eval.json").read_text())


def whole(root: Path, ref: str) -> bool:
    layout = Layout(root, "mini")
    record = manifest.read(layout.manifest(ref))
    parents = {parent: one.key for parent, one in record.parents.items()}
    verdict = done.is_done(layout, ref, record.key, parents, deep=True)
    return verdict.done and not verdict.unlisted


@pytest.mark.lm_eval
@pytest.mark.slow
@pytest.mark.parametrize("ref", ["plain/tuned", "plain/looped", "toy/joint"])
def test_a_local_task_on_an_export(ref: str, copied: Path, tasks: Path, python: Path, capsys: Any) -> None:
    path = copied / "results/mini" / ref / "eval.json"
    before = json.loads(path.read_text()) if path.exists() else {"before": {}, "after": {}}
    capsys.readouterr()
    found = evaluated(copied, ref, "tiny_sums", own=tasks, python=python)
    section = found["after"].pop("lm_eval")
    assert found == before
    assert json.loads(capsys.readouterr().out) == section
    assert section["harness"] == harness.version(python)
    assert section["tiny_sums"]["documents"] == 6
    assert section["tiny_sums"]["acc"] * 6 == pytest.approx(round(section["tiny_sums"]["acc"] * 6))
    assert whole(copied, ref)


@pytest.mark.lm_eval
@pytest.mark.nightly
def test_rulers_needles_at_the_length_of_a_model(
    finished: Path, tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_families, "CONTEXT", 4096)
    with chdir(finished):
        result, _ = open_finished("plain/base", "mini")
    test_families.exported(result, test_families.MODELS["llama"], test_families.ROPES["plain"], tmp_path)
    asked = Asked(("niah_single_1",), None, 1)
    found = harness.run(python, tmp_path / "exports/llama", asked, False, 4096, tmp_path / "out")["niah_single_1"]
    assert (found["documents"], found["limit"]) == (1, 1)
    assert found["4096"] in (0.0, 1.0)
    assert "8192" not in found


@pytest.mark.lm_eval
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("task", "context", "says"),
    [
        (
            "niah_single_2",
            4096,
            "Its documents come from a network, which is not there.*niah_single_1 alone needs none",
        ),
        ("niah_single_1", 128, "RULER's rows are longer than the model's context"),
    ],
)
def test_rulers_tasks_that_cannot_be_made_here_say_why(
    task: str, context: int, says: str, finished: Path, tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_families, "CONTEXT", context)
    for name, value in (("HF_HUB_OFFLINE", "1"), ("HF_HOME", str(tmp_path / "hf")), ("NLTK_DATA", str(tmp_path))):
        monkeypatch.setenv(name, value)
    with chdir(finished):
        result, _ = open_finished("plain/base", "mini")
    test_families.exported(result, test_families.MODELS["llama"], test_families.ROPES["plain"], tmp_path)
    made, asked = tmp_path / "exports/llama", Asked((task,), None, 1)
    with pytest.raises(UserError, match=rf"ended with 1, and wrote no results. It said:\n\w+Error: (.*\n)*{says}"):
        harness.run(python, made, asked, False, context, tmp_path / "out")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("a\nValueError: Tasks not found: nope", "ValueError: Tasks not found: nope\n`lm_eval ls tasks`"),
        ("  File x\nConnectionError: Couldn't reach 'b/e' on the Hub (LocalEntry)",
         "ConnectionError: Couldn't reach 'b/e' on the Hub (LocalEntry)\nIts documents come from a network"),
        ("LookupError: \n*\nResource punkt_tab not found.", "LookupError: \n*\nResource punkt_tab not found.\nIts"),
        ("x.y.OSError: first\nand more\nx.y.KeyError: last", "x.y.KeyError: last"),
        ("killed", "killed"),
    ],
)  # fmt: skip
def test_what_ended_it_is_told_without_its_traceback(output: str, said: str) -> None:
    assert harness._why(output).startswith(said)


@pytest.mark.lm_eval
@pytest.mark.slow
def test_a_task_that_there_is_not(copied: Path, python: Path) -> None:
    before = (copied / "results/mini/plain/base/eval.json").read_bytes()
    with pytest.raises(UserError, match=r"ended with 1, and wrote no results. It said:\n(.*\n)*.*no_such"):
        evaluated(copied, "plain/base", "no_such_task", python=python)
    assert (copied / "results/mini/plain/base/eval.json").read_bytes() == before


def test_what_was_found_before_stays_beside_it(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "version", lambda python: "0.0")
    for task, acc in (("one", 0.25), ("two", 0.5), ("one", 0.75)):
        monkeypatch.setattr(harness, "run", lambda *_, task=task, acc=acc: {task: {"acc": acc}})
        found = evaluated(copied, "plain/base", task)
    assert found["after"]["lm_eval"] == {"harness": "0.0", "one": {"acc": 0.75}, "two": {"acc": 0.5}}
    assert whole(copied, "plain/base")


def test_another_evaluation_keeps_it_and_a_child_does_not_inherit_it(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.commands.run import run_stage

    monkeypatch.setattr(harness, "version", lambda python: "0.0")
    monkeypatch.setattr(harness, "run", lambda *_: {"one": {"acc": 0.25}})
    evaluated(copied, "plain/tuned", "one")
    for spec, old, new in (
        ("plain/tuned.yaml", "evaluate: [validation_loss, answers]", "evaluate: [validation_loss]"),
        ("plain/later.yaml", "sources: []", "evaluate: [validation_loss]\nsources: []"),
    ):
        edit(copied / "specs" / spec, old, new)
    with chdir(copied):
        run_stage("plain/tuned", "mini", None)
        run_stage("plain/later", "mini", None)
    after = json.loads((copied / "results/mini/plain/tuned/eval.json").read_text())["after"]
    assert sorted(after) == ["lm_eval", "validation"]
    later = json.loads((copied / "results/mini/plain/later/eval.json").read_text())
    assert "lm_eval" not in later["before"]
    assert "lm_eval" not in later["after"]


def test_where_it_is_not_installed(copied: Path) -> None:
    bare = copied / "bare"
    bare.symlink_to(sys.executable)
    with pytest.raises(UserError, match=r"is not installed for .*bare. `make lm-eval` makes an environment"):
        evaluated(copied, "plain/base", "tiny_sums", python=bare)
    with pytest.raises(UserError, match=r"--lm-eval-python: .*nowhere cannot be run"):
        evaluated(copied, "plain/base", "tiny_sums", python=copied / "nowhere")


def test_what_is_not_asked_for_rightly(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "version", lambda python: "0.0")
    with pytest.raises(UserError, match=r"toy/kept: points to toy/text"):
        evaluated(copied, "toy/kept", "one")
    with pytest.raises(UserError, match=r"--lm-eval-tasks: .* is not a folder"):
        evaluated(copied, "plain/base", "one", own=copied / "nothing")
    with pytest.raises(UsageError, match="found no name"):
        evaluated(copied, "plain/base", "one,")
    with pytest.raises(UserError, match=r"plain/later is missing"):
        evaluated(copied, "plain/later", "one")


def test_the_harness_is_asked_which_tasks_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a script of its own interpreter; here one with a harness of two tasks."""
    (tmp_path / "lm_eval").mkdir()
    (tmp_path / "lm_eval/__init__.py").touch()
    (tmp_path / "lm_eval/tasks.py").write_text(
        "class TaskManager:\n    def __init__(self, include_path):\n        print('loading')\n"
        "        self.all_tasks = ['one', 'two', *([] if include_path is None else ['own'])]\n"
    )
    monkeypatch.chdir(tmp_path)
    python = Path(sys.executable)
    assert harness.unknown(python, Asked(("one", "own", "three"), None, None)) == ["own", "three"]
    assert harness.unknown(python, Asked(("one", "own", "three"), tmp_path, None)) == ["three"]
    (tmp_path / "lm_eval/tasks.py").write_text("raise ImportError('no torch')")
    with pytest.raises(UserError, match="does not say which tasks it has:\nImportError: no torch"):
        harness.unknown(python, Asked(("one",), None, None))


def numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    written = {"results": {"t": metrics}, "versions": {"t": 2}, "n-samples": {"t": {"effective": 5}}}
    return harness._numbers(written, Asked(("t",), None, 5))


def test_numbers_as_the_harness_writes_them() -> None:
    given = {"alias": "t", "acc,none": 0.5, "acc_stderr,none": float("nan"), "em,strict": 0, "sample_len": 5}
    lengths = {"4096,none": 0.25, "8192,none": -1}
    found = numbers({**given, **lengths})["t"]
    assert found == {"documents": 5, "version": 2, "limit": 5, "acc": 0.5, "em_strict": 0, "4096": 0.25}
    tag = harness._numbers(
        {"results": {"t": {"acc,none": 1}}, "n-samples": {"t": {"effective": 5}}}, Asked(("all",), None, 5)
    )
    assert tag["all"] == {"documents": 5, "version": None, "limit": 5}
    with pytest.raises(UserError, match=r"t: acc,none: found nan; allowed: finite"):
        numbers({"acc,none": float("nan")})
