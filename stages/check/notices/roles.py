"""Roles of a published tokenizer's tokens that are not those with which its models were trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from stages.errors import InvalidSpecs
from stages.spec.project import Project
from stages.spec.schema.tokenizers import RawTokenizerFiles

# By how the hub's id begins: what every document began with in pre-training, as `add_bos_token` and the post-processors
# of their tokenizers have it. A model that was trained with one loses much without it (arXiv 2309.17453: the first
# token takes up attention), and one that was trained without has never seen it.
BEGINS: Mapping[str, str | None] = {
    "google/gemma-2-": "<bos>",
    "google/gemma-3-": "<bos>",
    "HuggingFaceTB/SmolLM2-": None,
    "meta-llama/Llama-2-": "<s>",
    "meta-llama/Llama-3": "<|begin_of_text|>",
    "meta-llama/Meta-Llama-3": "<|begin_of_text|>",
    "mistralai/Mistral-7B": "<s>",
    "mistralai/Mixtral-8x7B": "<s>",
    "Qwen/Qwen2-": None,
    "Qwen/Qwen2.5-": None,
    "Qwen/Qwen3-": None,
}


def unusual_roles(project: Project) -> Iterator[str]:
    """A notice for each tokenizer with another `bos` than its models know, and for each without an `eos`."""
    tokenizers: Mapping[str, RawTokenizerFiles] = {}
    with suppress(InvalidSpecs):  # a finding
        tokenizers = project.data.tokenizers
    for name, raw in tokenizers.items():
        document = project.files.entry("tokenizers", name)
        known = next((one for one in BEGINS if raw.source.startswith(one)), None)
        if known is not None and raw.roles.bos != BEGINS[known]:
            usual = BEGINS[known] or "none"
            where, found = document.where(("roles", "bos")), raw.roles.bos or "none"
            yield f"{where}: {name} has bos {found!r}, and models of {raw.source} were trained with {usual!r}."
        if raw.roles.eos is None:
            where = document.where(("roles", "eos"))
            yield f"{where}: {name} has no eos: no document ends, and a model that learns from them never stops."
