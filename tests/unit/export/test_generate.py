"""What a stage writes is what transformers writes from its export, and what is drawn hangs on the seed alone."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.commands.generate import generate
from stages.errors import UsageError, UserError
from stages.export import sample, tokenizer
from stages.export.sampling import Sampling
from stages.models import hf_config
from tests.unit.export import ours
from tests.unit.export.conftest import Export

PROMPT, MOST = "Ada has 12", 12
HOW: dict[str, Any] = {"chat": False, "most": MOST, "temperature": None, "top_p": None, "seed": None}


def said(root: Path, ref: str, capsys: pytest.CaptureFixture[str], prompt: str = PROMPT, **how: Any) -> str:
    capsys.readouterr()
    with chdir(root):
        generate(ref, prompt, "mini", **{**HOW, **how})
    return capsys.readouterr().out


def theirs(folder: Path, chat: bool) -> str:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    turn = [{"role": "user", "content": PROMPT}]
    given = (
        tokens.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        if chat
        else tokens(PROMPT, return_tensors="pt")
    )
    written = model.generate(**given, max_new_tokens=MOST)[0, given["input_ids"].shape[1] :]
    return tokens.decode(written, skip_special_tokens=True)


@pytest.mark.parametrize("ref", ["plain/base", "plain/tuned", "toy/text", "toy/kept"])
@pytest.mark.parametrize("chat", [False, True])
def test_greedy_text_is_transformers(
    ref: str, chat: bool, finished: Path, exported: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    want = theirs(exported(ref), chat)
    assert want
    assert said(finished, ref, capsys, chat=chat) == want + "\n"


def test_a_looped_model_is_looped_as_it_was_trained(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, tokens = ours.module(finished, "plain/looped"), ours.tokenizer(finished)
    loops = hf_config.read(finished / "results/mini/plain/looped/model/llm").loops
    row = [1, *tokens.encode(PROMPT)]
    start = len(row)
    for _ in range(MOST):
        row.append(int(ours.logits(model, row, loops)[-1].argmax()))
    assert said(finished, "plain/looped", capsys) == tokens.decode(row[start:]) + "\n"


def test_a_model_with_a_vision_tower_writes_text_too(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(finished, "toy/joint", capsys).endswith("\n")


def test_what_is_drawn_hangs_on_the_seed(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, again, other = (
        said(finished, "plain/base", capsys, temperature=1.5, top_p=0.9, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_drawn_tokens_are_as_likely_as_stated() -> None:
    likely = torch.tensor([0.5, 0.3, 0.15, 0.05])
    logits = likely.log() * 2  # at temperature 2, these very probabilities
    rows = list(sample.written(lambda _: logits, [0], (), 4000, Sampling(2.0, 1.0, seed=3)))
    counts = torch.bincount(torch.tensor(rows), minlength=4) / len(rows)
    assert (counts - likely).abs().max() < 4 * math.sqrt(0.25 / len(rows))
    kept = set(sample.written(lambda _: logits, [0], (), 400, Sampling(2.0, 0.79, seed=3)))
    assert kept == {0, 1}  # 0.5 is less than 0.79, 0.8 is not
    assert set(sample.written(lambda _: logits, [0], (), 50, Sampling(2.0, 1e-9, seed=3))) == {0}


@pytest.mark.parametrize("temperature", [1e-3, 1e-300, 5e-324])
def test_a_temperature_near_zero_draws_the_likeliest(temperature: float) -> None:
    logits = torch.tensor([3.0, 800.0, -5.0])
    assert set(sample.written(lambda _: logits, [0], (), 20, Sampling(temperature, 1.0, seed=3))) == {1}


def test_a_text_ends_before_what_ends_a_text() -> None:
    def logits(row: list[int]) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor((row[-1] + 1) % 9), 9).float()

    assert list(sample.written(logits, [2], (5, 7), 20, None)) == [3, 4]


def test_characters_come_whole(finished: Path) -> None:
    with chdir(finished):
        from stages.commands.finished import finished as opened

        tokens = tokenizer.of(opened("plain/base", "mini")[0])
    text = "12 € und ½, 𝄞!"
    pieces = list(sample.texts(tokens, iter(tokens.inner.encode(text, add_special_tokens=False).ids)))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"temperature": 1.0}, r"--seed: found nothing; .*with --temperature"),
        ({"temperature": 1.0, "seed": -1}, r"--seed: found -1"),
        ({"temperature": 0.0, "seed": 1}, r"--temperature: found 0.0; allowed: more than 0"),
        ({"temperature": math.nan, "seed": 1}, r"--temperature: found nan"),
        ({"temperature": 1.0, "seed": 1, "top_p": 0.0}, r"--top-p: found 0.0"),
        ({"temperature": 1.0, "seed": 1, "top_p": 1.5}, r"--top-p: found 1.5"),
        ({"top_p": 0.9}, r"--top-p: found 0.9 without --temperature"),
        ({"seed": 1}, r"--seed: found 1 without --temperature"),
    ],
)
def test_a_way_of_drawing_is_stated_in_full(
    how: dict[str, Any], message: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=message):
        said(finished, "plain/base", capsys, **how)


def test_a_mistyped_stage_is_answered_before_torch_is_loaded(finished: Path) -> None:
    code = (
        "import sys; from stages.cli import app; from stages.errors import UserError\n"
        "try: app(sys.argv[1:], standalone_mode=False)\n"
        "except UserError as error: print(error)\n"
        "sys.exit('torch' in sys.modules)"
    )
    for words in (["generate", "plain/bsae", "--prompt", "x"], ["evaluate", "plain/bsae", "--tasks", "answers"],
                  ["export", "plain/bsae", "out", "--dtype", "fp32"]):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=finished, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "Did you mean 'plain/base'?" in done.stdout


def test_a_prompt_that_is_not_utf8(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="--prompt: found bytes that are not UTF-8; allowed: text in UTF-8"):
        said(finished, "plain/base", capsys, prompt=os.fsdecode(b"caf\xe9"))


def test_a_prompt_beyond_the_context(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"--prompt: found .* tokens; allowed: fewer than the model's context of 64"):
        said(finished, "plain/base", capsys, prompt="Ada " * 64)


def test_a_text_ends_at_the_context_and_says_so(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with chdir(finished):
        generate("plain/looped", PROMPT, "mini", **{**HOW, "most": 500})
    assert capsys.readouterr().err == "stopped at the model's context of 64 tokens\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("out", "shown"), [(Terminal(), "a\\x1b[2Jb\tc\n\n"), (io.StringIO(), "a\x1b[2Jb\tc\n\n")])
def test_nothing_acts_on_a_terminal(
    out: io.StringIO, shown: str, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "texts", lambda tokens, ids: iter(["a\x1b[2", "Jb\tc\n"]))
    monkeypatch.setattr("sys.stdout", out)
    with chdir(finished):
        generate("plain/base", PROMPT, "mini", **HOW)
    assert out.getvalue() == shown
