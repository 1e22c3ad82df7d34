"""Sizes of models that none has that was released: notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.sizes import unusual
from stages.spec.project import Project
from tests import shipped
from tests.unit.check.told import of_all
from tests.unit.spec.small_project import edit


def test_the_shipped_models_are_as_others() -> None:
    assert of_all(shipped.project(), unusual) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "ouro",
            "layers: 24\n    hidden: 2048\n    ffn: 5632",
            "layers: 24\n    hidden: 2048\n    ffn: 5362",
            "ouro_1_4b: ffn 5,362 is no multiple of 8.",
        ),
        ("kimi_vl", "kv_lora_rank: 512", "kv_lora_rank: 51", "moonlight: kv_lora_rank 51 is no multiple of 8."),
        (
            "kimi_vl",
            "active_experts: 6",
            "active_experts: 60",
            "moonlight: a token is given 60 of 64 experts, more than",
        ),
    ],
)
def test_a_slip_of_a_digit_is_told(tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    path = f"{file}/pipeline.yaml"
    line = edit(shipped.copy(tmp_path), path, old, new) + new.count("\n")
    (notice, *_) = of_all(Project.load(tmp_path), unusual)
    assert notice.startswith(f"specs/{path}:{line}: {said}")
