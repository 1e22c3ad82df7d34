"""From an empty folder, by docs/your-model-and-data.md alone: one's own model, tokenizer and data are trained on.

And each mistake of that page's table, made in the same project, says what the table says.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stages import cli
from tests.edits import substituted
from tests.unit.cli import your_model

pytestmark = pytest.mark.slow
pytest.importorskip("pyarrow", reason="Parquet and zstandard are read by pyarrow")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The project when all that the page says was done, and what its commands printed."""
    root = tmp_path_factory.mktemp("empty")
    return root, your_model.follow(root)


def test_what_is_learned_of_three_conversations_is_shown(finished: tuple[Path, str]) -> None:
    root, said = finished
    shown = said.split("--- data/chats.jsonl:")[1:]
    rows = [json.loads(line) for line in (root / "data/chats.jsonl").read_text().splitlines()[:3]]
    assert len(shown) == 3
    for number, (row, text) in enumerate(zip(rows, shown, strict=True), 1):
        asked, answered = (turn["value"] for turn in row["conversations"])
        assert text.startswith(f"{number}: document ")
        lines = text.partition("--- end of the document")[0].splitlines()[1:]
        assert [line for line in lines if line.startswith("+ ")] == [f"+ {answered}«<|im_end|>»"]
        assert f"| {asked}«<|im_end|>»↵" in lines
        assert lines[-1] == "| ↵"


def test_the_page_shows_what_is_printed(finished: tuple[Path, str]) -> None:
    """But for numbers, which follow from the library that the text is taken from."""

    def form(text: str) -> list[str]:
        lines = text.partition("--- end of the document")[0].splitlines()
        return [re.sub(r"[\d,]+", "N", line) if line.startswith("---") else line[:2] for line in lines]

    _, said = finished
    (shown,) = [text for language, text in your_model.blocks() if language == "text"]
    assert form(shown) == form(said[said.index("--- data/chats.jsonl:1") :])


def test_every_stage_was_trained_and_learned_something(finished: tuple[Path, str]) -> None:
    root, _ = finished
    results = root / "results/laptop/mine"
    for stage in ("cpt", "sft"):
        found = json.loads((results / stage / "eval.json").read_text())
        before, after = (found[when]["validation"]["by_corpus"] for when in ("before", "after"))
        assert before.keys() == after.keys()
        assert all(after[corpus] < before[corpus] for corpus in before), stage
    (read,) = json.loads((results / "cpt/run.json").read_text())["read"]
    assert read.keys() == {"code", "docs"}
    assert sum(read.values()) >= 20_480


def test_the_export_is_the_trained_model_and_transformers_loads_it(finished: tuple[Path, str]) -> None:
    root, _ = finished
    made = transformers.AutoModelForCausalLM.from_pretrained(root / "tiny-instruct")
    given = transformers.AutoModelForCausalLM.from_pretrained(root / "releases/tiny")
    assert made.config.vocab_size == given.config.vocab_size == 50_304
    assert not torch.equal(made.lm_head.weight, given.lm_head.weight)
    tokenizer = transformers.AutoTokenizer.from_pretrained(root / "tiny-instruct")
    assert len(tokenizer) >= 50_000
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False)
    assert asked == "<|im_start|>user\nhello<|im_end|>\n"
    with torch.no_grad():
        logits = made(tokenizer(asked, return_tensors="pt")["input_ids"]).logits
    assert bool(torch.isfinite(logits).all())


def test_the_imported_weights_are_the_released_ones(finished: tuple[Path, str]) -> None:
    from safetensors.torch import load_file

    root, _ = finished
    given = load_file(root / "releases/tiny/model.safetensors")
    taken = load_file(root / "results/laptop/mine/base/model/llm/model.safetensors")
    assert given.keys() == taken.keys()
    assert all(torch.equal(given[name].float(), taken[name].float()) for name in given)


def edit(root: Path, name: str, old: str, new: str) -> None:
    (root / name).write_text(substituted((root / name).read_text(), old, new, everywhere=True))


def undeclared(root: Path, name: str) -> None:
    """Without what `--accept` added."""
    edit(root, name, r"^# for specs(.|\n)*", "")


def no_template(root: Path) -> None:
    (root / "releases/tiny/chat_template.jinja").unlink(missing_ok=True)
    config = root / "releases/tiny/tokenizer_config.json"
    config.write_text(json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "chat_template"}))
    undeclared(root, "specs/tokenizers/tiny.yaml")
    declared = your_model.run(root, "stages tokenizer tiny --accept >> specs/tokenizers/tiny.yaml")
    assert declared.returncode == 0
    undeclared(root, "specs/data/chats.yaml")


def another_tokenizer(root: Path) -> None:
    path = root / "releases/tiny/tokenizer.json"
    found = json.loads(path.read_text())
    words = found["model"]["vocab"]
    first, second = list(words)[-2:]
    words[first], words[second] = words[second], words[first]
    path.write_text(json.dumps(found))


def larger(root: Path) -> None:
    for name in ("pipeline", "cpt"):
        edit(root, f"specs/mine/{name}.yaml", r"(until|budget): 20_480", r"\1: 50_000_000")


def no_columns(root: Path) -> None:
    undeclared(root, "specs/data/docs.yaml")
    edit(root, "specs/data/docs.yaml", "^columns.*\n", "")


RUN = "stages run mine/base --releases releases"
CHECK = "stages check"
CHATS = "stages data chats --accept"
Change = Callable[[Path], None]
MISTAKES: dict[str, tuple[Change, str]] = {
    "no `--accept` for the release": (lambda root: undeclared(root, "specs/releases/tiny.yaml"), RUN),
    "the model folder itself for `--releases`": (lambda root: None, f"{RUN}/tiny"),
    "another `rope` in `base.yaml`": (lambda root: edit(root, "specs/mine/base.yaml", "500_000", "10_000"), RUN),
    "no `columns` for the Parquet file": (
        no_columns,
        "stages data docs --accept",
    ),
    "no `rows` for ShareGPT": (lambda root: edit(root, "specs/data/chats.yaml", "^rows.*\n", ""), CHATS),
    "no `tokenizer` for a corpus": (lambda root: edit(root, "specs/data/chats.yaml", "^tokenizer.*\n", ""), CHATS),
    "another tokenizer.json": (another_tokenizer, "stages tokenizer tiny"),
    "a token for a role that is not there": (
        lambda root: edit(root, "specs/tokenizers/tiny.yaml", r"<\|im_end\|>", "<|eot_id|>"), "stages tokenizer tiny"),
    "a role left out": (
        lambda root: edit(root, "specs/tokenizers/tiny.yaml", r', turn_end: "<\|im_end\|>"', ""), RUN),
    "a tokenizer without a chat template": (no_template, CHATS),
    "more tokens than there are": (larger, CHECK),
    "a model with fewer words than the tokenizer": (
        lambda root: edit(root, "specs/mine/pipeline.yaml", "50_304", "50_000"), CHECK),
    "another tokenizer's name in the pipeline": (
        lambda root: edit(root, "specs/mine/pipeline.yaml", "^tokenizer: tiny", "tokenizer: tinny"), CHECK),
}  # fmt: skip


def test_every_mistake_of_the_page_is_made_here() -> None:
    assert set(your_model.mistakes()) == set(MISTAKES)


@pytest.mark.parametrize("done", MISTAKES)
def test_a_mistake_says_what_the_page_says(
    finished: tuple[Path, str],
    tmp_path: Path,
    done: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, (change, command) = tmp_path / "project", MISTAKES[done]
    for part in ("specs", "data", "releases", "results/laptop/data"):
        shutil.copytree(finished[0] / part, root / part)
    change(root)
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.argv", command.split())
    with pytest.raises(SystemExit) as ended:  # any other exception would be a traceback
        cli.main()
    assert ended.value.code in (1, 2)
    assert your_model.mistakes()[done] in "".join(capsys.readouterr())
    assert not (root / "results/laptop/mine/base").exists()
