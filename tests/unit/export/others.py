"""Other people's interpreters, and whether what they say of an export is what this project computes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.data.document import BOS
from tests.unit.export import ours, reader

ROOT = Path(__file__).parents[3]
TRANSFORMERS_5 = "STAGES_TRANSFORMERS_5"


def transformers_5() -> Path:
    """An interpreter with transformers 5: the one named in the environment, or the one that `make nemo` makes."""
    python = Path(os.environ.get(TRANSFORMERS_5, ROOT / ".venv-nemo/bin/python"))
    if not python.is_file():
        pytest.skip(f"no interpreter with transformers 5: set {TRANSFORMERS_5}, or `make nemo`")
    return python


def read(python: Path, folder: Path, scratch: Path, *words: str | Path) -> dict[str, Any]:
    """What `reader` finds under another interpreter, which has nothing of this project and no earlier cache."""
    out = scratch / "out.json"
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**kept, "HF_HOME": str(scratch / "hf"), "OMP_NUM_THREADS": "1"}
    command = [python, ROOT / "tests/unit/export/reader.py", folder, out, *words]
    subprocess.run(command, check=True, cwd=scratch, env=environment, stdin=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def agrees(root: Path, ref: str, found: dict[str, Any], loops: int | None = None) -> None:
    """Ids, logits and greedy text are ours, and nothing was said."""
    assert found["said"] == []
    tokens, model = ours.tokenizer(root), ours.module(root, ref)
    bare = tokens.encode(reader.TEXT)
    assert found["bare"] == bare
    assert found["prompt"] == [BOS, *bare]
    close(found["logits"], ours.logits(model, found["prompt"], loops))
    for start, written in zip((found["prompt"], found["chat"]), found["written"], strict=True):
        assert written[: len(start)] == start
        row = list(start)
        for token in written[len(start) :]:
            assert int(ours.logits(model, row, loops)[-1].argmax()) == token
            row.append(token)
    assert found["uncached"] == found["padded"][-len(found["uncached"]) :] == found["written"][0]


def close(found: list[list[float]], want: torch.Tensor) -> None:
    """Logits [T, V] within 1e-5, relative to the largest where that is above 1."""
    assert (torch.tensor(found) - want).abs().max() <= 1e-5 * max(1.0, float(want.abs().max()))
