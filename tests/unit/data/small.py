"""Builders of small projects and phases for tests/unit/data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import yaml

from stages.data.corpus.prepared import Corpus
from stages.data.loading.loader import PhaseData
from stages.data.preparing import prepare
from stages.spec.resolved_phases import BatchStep, Coca, Phase, Resolution, ShareRamp, Source

ZERO = "0" * 64
IMAGES = {"cell": 8, "patch": 4, "channels": 3}
CORPORA: dict[str, tuple[str, str, dict[str, int]]] = {
    "math": ("text", "tokens", {"count": 120}),
    "reasoning": ("sft", "tokens", {"count": 150}),
    "captions": ("multimodal", "tokens", {"count": 150, **IMAGES}),
    "digit_qa": ("multimodal", "tokens", {"count": 60, **IMAGES}),
    "clips": ("multimodal", "tokens", {"count": 30, "least_frames": 4, "most_frames": 9, **IMAGES}),
    "pairs": ("pairs", "items", {"count": 300, **IMAGES}),
}


def spec(name: str, **changes: Any) -> dict[str, Any]:
    """The data spec of one of the small corpora."""
    kind, unit, parameters = CORPORA[name]
    packages = {
        "scikit-learn": {"version": metadata.version("scikit-learn"), "files": ["*digits.csv.gz"], "leave_out": []}
    }
    return {
        "corpus": name, "kind": kind, "unit": unit, "builder": name, "digest": ZERO,
        "size": 0, "documents": 0, "longest": 0, "heldout": 0,
        "parameters": parameters, "packages": packages if "cell" in parameters else {}, **changes,
    }  # fmt: skip


def write_spec(root: Path, name: str, content: dict[str, Any]) -> None:
    folder = root / "specs" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))


@dataclass(frozen=True)
class Small:
    """A project's folder and where its corpora are prepared."""

    root: Path
    data: Path

    def corpus(self, name: str) -> Corpus:
        return Corpus(self.data / name)

    def source(self, name: str, start: int = 0, end: int | None = None, weight: int = 1) -> Source:
        manifest = self.corpus(name).manifest
        group: Literal["text", "multimodal"] = "multimodal" if manifest.kind in ("multimodal", "pairs") else "text"
        stop = manifest.size if end is None else end
        return Source(
            corpus=name, group=group, weight=weight, start=start, end=stop, digest=manifest.digest, kind=manifest.kind
        )


def build(root: Path) -> Small:
    """Prepare everything under `root`."""
    tokenizer = {"tokenizer": "test", "vocab": 300, "digest": ZERO, "corpora": ["math", "captions"], "characters": 4000}
    write_spec(root, "tokenizer", tokenizer)
    for name in CORPORA:
        write_spec(root, name, spec(name))
    data = root / "data"
    write_preferences(root)
    for name in ("tokenizer", *CORPORA, "preferences"):
        prepare.prepare(root, name, data / name, accept=True)
    return Small(root, data)


def write_preferences(root: Path) -> None:
    """Pairs of answers, which no builder makes: a file of them, and its data spec."""
    rows = [
        {"prompt": f"{number} + 7", "chosen": f" = {number + 7}", "rejected": f" = {number + 8}"}
        for number in range(180)
    ]  # fmt: skip
    (root / "preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    declared: dict[str, Any] = {"digest": ZERO, "size": 0, "documents": 0, "longest": 0, "heldout": 0}
    about = {"corpus": "preferences", "kind": "preference", "unit": "tokens", "builder": "file"}
    place = {"path": "preferences.jsonl", "rows": "prompt_completion"}
    write_spec(root, "preferences", {**about, **place, **declared})


def phase(*sources: Source, **changes: Any) -> Phase:
    """A text phase over these sources, with the fields that a test cares about changed."""
    fields: dict[str, Any] = {
        "name": "main", "objective": "next_token", "unit": "tokens", "budget": 10_000, "clock_start": 0, "context": 32,
        "batch": (BatchStep(after=0, sequences=4),), "micro_batch": 1, "epochs": 1, "document_mask": True,
        "packing": "concatenate", "sources": sources, "share": None, "loops": None, "router": None, "coca": None,
    }  # fmt: skip
    return Phase(**{**fields, **changes})


def half() -> ShareRamp:
    return ShareRamp(first=(1, 2), last=(1, 2), over=0)


def coca(*steps: tuple[int, int]) -> Coca:
    """CoCa settings with caps (after how many patches, pixels)."""
    return Coca(caption_weight=2.0, resolutions=tuple(Resolution(after=after, cap=cap) for after, cap in steps))


def load(small: Small, made: Phase, seed: int = 1, scope: str = "p/s/main") -> PhaseData:
    return PhaseData(made, seed, scope, small.data)
