"""Sizes of models that none has that was released: notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.run import as_written
from stages.check.notices.sizes import unusual
from stages.spec.project import Project
from tests import shipped
from tests.mutants import unshipped
from tests.unit.check.reported import of_all
from tests.unit.spec.small_project import edit


def test_the_shipped_models_are_as_others() -> None:
    assert of_all(shipped.project(), unusual) == []
    assert not [one for one in as_written(shipped.project()) if "`parameters` has no count" in one]


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


@pytest.mark.parametrize(
    ("key", "old", "new", "said"),
    [
        ("ffn", "ffn: 4304\n    heads: 16\n    patch", "ffn: 43_040\n    heads: 16\n    patch",
         "moonvit: ffn 43,040 to hidden 1,152 is 37.4; published models have 2.5 to 8."),
        ("layers", "layers: 27\n    hidden: 1152\n    ffn: 4304\n    heads: 16\n    patch",
         "layers: 2\n    hidden: 1152\n    ffn: 4304\n    heads: 16\n    patch",
         "moonvit: hidden 1,152 to layers 2 is 576; published models have 19 to 205."),
        ("heads", "heads: 16\n    patch", "heads: 4\n    patch",
         "moonvit: hidden 1,152 to heads 4 is 288; published models have 64 to 256 in a head."),
        ("patch", "patch: 14", "patch: 41", "moonvit: patch 41; published models have 14 and 16."),
        ("qk_nope_dim", "qk_nope_dim: 128\n    qk_rope_dim: 64", "qk_nope_dim: 64\n    qk_rope_dim: 128",
         "moonlight: qk_nope_dim 64 to qk_rope_dim 128 is 0.5; published models have 2: 128 and 64."),
        ("expert_ffn", "expert_ffn: 1408", "expert_ffn: 14_080",
         "moonlight: expert_ffn 14,080 to hidden 2,048 is 6.88; published models have 1/4 to 3.5."),
    ],
)  # fmt: skip
def test_a_shape_that_no_model_has(tmp_path: Path, key: str, old: str, new: str, said: str) -> None:
    """Also of models of which no count is published, as the tower here."""
    root = shipped.copy(tmp_path)
    edit(root, "kimi_vl/pipeline.yaml", old, new)
    (notice,) = of_all(Project.load(root), unusual)
    where, _, words = notice.partition(": ")
    path, _, line = where.rpartition(":")
    assert words == said
    assert (root / path).read_text().splitlines()[int(line) - 1].strip().startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("std", "told"), [("0.002", ["moonlight: init_std 0.002; published models have 0.004 to 0.04."]), ("0.006", [])]
)
def test_an_init_std_that_misses_a_nought(tmp_path: Path, std: str, told: list[str]) -> None:
    root = shipped.copy(tmp_path)
    text = (root / "specs/kimi_vl/pipeline.yaml").read_text()
    begin = text[text.index("  moonlight:\n") :]
    whole = begin[: begin.index("init_std: 0.02") + len("init_std: 0.02")]
    edit(root, "kimi_vl/pipeline.yaml", whole, f"{whole.removesuffix('0.02')}{std}")
    assert [one.partition(": ")[2] for one in of_all(Project.load(root), unusual)] == told


@pytest.mark.parametrize(("width", "told"), [(1280, True), (256, False), (128, False)])
def test_an_ffn_that_no_layer_has(tmp_path: Path, width: int, told: bool) -> None:
    """What Qwen3's configs state there is two of the experts; what a model was upcycled from has one's width."""
    root = unshipped.write(tmp_path)
    before = of_all(Project.load(root), unusual)
    edit(root, "sparse/pipeline.yaml", "ffn: 128, heads: 4, kv_heads: 2, head_dim: 16, experts",
         f"ffn: {width}, heads: 4, kv_heads: 2, head_dim: 16, experts")  # fmt: skip
    new = [one.partition(": ")[2] for one in of_all(Project.load(root), unusual) if one not in before]
    assert new == [
        "routed: ffn 1,280 is of no layer, since all have experts, and config.json alone states it: 256 "
        "(active_experts x expert_ffn) in Qwen3's, 128 where a dense model of that width was upcycled."
    ] * told  # fmt: skip


def test_a_released_model_without_a_published_count(tmp_path: Path) -> None:
    root = shipped.copy(tmp_path)
    edit(root, "kimi_vl/pipeline.yaml", "parameters: {moonvit: 416_866_032, ", "parameters: {")
    (notice,) = [one for one in as_written(Project.load(root)) if "`parameters`" in one]
    assert notice.partition(": ")[2].startswith(
        "moonvit starts from release 'siglip', and `parameters` has no count of"
    )
