"""Tokenizers whose roles are not those with which their models were trained: notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.roles import unusual_roles
from stages.check.notices.run import as_written
from stages.spec.project import Project
from tests import shipped

LLAMA, QWEN, OWN = "meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-7B", "our/own"


def declared(root: Path, source: str, bos: str, eos: str) -> Path:
    """The shipped specs with one tokenizer more."""
    file = shipped.copy(root) / "specs/tokenizers/mine.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        f"tokenizer: mine\nsource: {source}\nrevision: none\nlicence: none\npath: tokenizers/mine\nvocab: 128_256\n"
        f'digest: "{"0" * 64}"\nroles:\n  bos: "{bos}"\n  eos: "{eos}"\n'
        "  pad: none\n  turn_begin: none\n  turn_end: none\n"
    )
    return root


@pytest.mark.parametrize(
    ("source", "bos", "eos", "line", "said"),
    [
        (LLAMA, "<|begin_of_text|>", "<|end_of_text|>", 0, ""),
        (LLAMA, "none", "<|end_of_text|>", 9,
         "mine has bos 'none', and models of meta-llama/Llama-3.1-8B were trained with '<|begin_of_text|>'."),
        (QWEN, "<|endoftext|>", "<|im_end|>", 9,
         "mine has bos '<|endoftext|>', and models of Qwen/Qwen2.5-7B were trained with 'none'."),
        (QWEN, "none", "<|endoftext|>", 0, ""),
        (OWN, "<s>", "</s>", 0, ""),
        (OWN, "<s>", "none", 10, "mine has no eos: no document ends, and a model that learns from them never stops."),
    ],
)  # fmt: skip
def test_the_tokens_around_a_document(tmp_path: Path, source: str, bos: str, eos: str, line: int, said: str) -> None:
    project = Project.load(declared(tmp_path, source, bos, eos))
    notice = f"specs/tokenizers/mine.yaml:{line}: {said}"
    assert list(unusual_roles(project)) == [notice] * bool(said)
    assert (notice in as_written(project)) == bool(said)
