"""A model's vocabulary beside that of the published tokenizer which its pipeline names: the name of another, or digits
that were exchanged.
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


def other_sizes(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each language model with fewer words than the tokenizer, or with more than padding adds."""
    tokens = next((count for name, count in KNOWN.items() if loaded.raw.tokenizer.startswith(name)), None)
    if tokens is None:
        return
    for model, vocab in loaded.vocabularies.items():
        if not tokens <= vocab <= PADDING * tokens:
            where = loaded.document.where(("models", model, "vocab"))
            yield f"{where}: {model} has {vocab:,} words, and the tokenizer of {loaded.raw.tokenizer} has {tokens:,}."
