"""A published tokenizer's name: one that is almost a known one, and a model's vocabulary beside the tokenizer's, where
the name is of another, or digits were exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.rules.tokenizer import PADDING
from stages.spec.loader import LoadedPipeline

# By how the hub's id begins: the tokens of the published tokenizer, special ones too. Embeddings are padded up from it.
# Qwen's have 151,643 tokens of text, and 3 special ones (arXiv 2407.10671, section 2.1), 22 (2412.15115, section 2) or
# 26 (2505.09388, section 2).
KNOWN = {
    "allenai/OLMo-2": 100_278,
    "allenai/Olmo-3": 100_278,
    "allenai/OLMoE": 50_280,
    "deepseek-ai/DeepSeek-V3": 128_815,
    "google/gemma-2-": 256_000,
    "google/gemma-3-": 262_144,
    "HuggingFaceTB/SmolLM-": 49_152,
    "HuggingFaceTB/SmolLM2-": 49_152,
    "HuggingFaceTB/SmolLM3-": 128_256,
    "meta-llama/Llama-2-": 32_000,
    "meta-llama/Llama-3": 128_256,
    "meta-llama/Meta-Llama-3": 128_256,
    "mistralai/Mistral-7B-v0.1": 32_000,
    "mistralai/Mistral-7B-v0.3": 32_768,
    "mistralai/Mixtral-8x7B-v0.1": 32_000,
    "moonshotai/Moonlight": 163_840,
    "Qwen/Qwen2-": 151_646,
    "Qwen/Qwen2.5-": 151_665,
    "Qwen/Qwen3-": 151_669,
}

# Names of other models that differ from those by a letter.
OTHERS = frozenset({"HuggingFaceTB/SmolVLM"})


def mistyped(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice of a tokenizer whose name is a known one except for one letter more, less or another."""
    name = loaded.raw.tokenizer
    written = _letters(name)
    if any(written.startswith(_letters(one)) for one in (*KNOWN, *OTHERS)):
        return
    for known in KNOWN:
        meant = _letters(known)
        beginnings = {written[: len(meant) + more] for more in (-1, 0, 1)}
        if any(_one_apart(one, meant) for one in beginnings):
            where, beginning = loaded.document.where(("tokenizer",)), known.rstrip("-.0123456789")
            yield f"{where}: the tokenizer is {name!r}; is {beginning}... meant?"
            return


def _letters(name: str) -> str:
    """The letters of a name: its digits are a version, and the hub does not tell capitals apart."""
    return "".join(one for one in name.casefold() if one.isalpha())


def _one_apart(one: str, other: str) -> bool:
    """Whether a letter was put in, left out or replaced, or two neighbours were exchanged."""
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    start = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    start = min(len(one), len(other)) if start is None else start
    left, right = one[start:], other[start:]
    exchanged = left[:2] == right[1::-1] and left[2:] == right[2:]
    return left[1:] == right[1:] or left[1:] == right or left == right[1:] or (len(left) > 1 and exchanged)


def other_sizes(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each language model with fewer words than the tokenizer, or with more than padding adds."""
    tokens = next((count for name, count in KNOWN.items() if loaded.raw.tokenizer.startswith(name)), None)
    if tokens is None:
        return
    for model, vocab in loaded.vocabularies.items():
        if not tokens <= vocab <= PADDING * tokens:
            where = loaded.document.where(("models", model, "vocab"))
            yield f"{where}: {model} has {vocab:,} words, and the tokenizer of {loaded.raw.tokenizer} has {tokens:,}."
