"""A profile is taken over field by field, and each kind of device has one that is taken unless another is named."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from stages.contract import hardware
from stages.errors import UsageError, UserError
from stages.spec.files import Files
from tests.edits import replaced

TEXT = """\
hardware: small
title: a small card
device: cuda
peak: 3T
mfu: 25%
per_node: 4
memory: 5 GB
runtime: 1 GB
disk: 7 GB
overhead: {block_ms: 0.5, step_ms: 2}
images: {side: 50%, positions: 25%}
sources:
  - {covers: [peak, memory], mark: published, citation: its datasheet}
  - {covers: [mfu, per_node, runtime, overhead, images], mark: assumed, reason: nothing is published}
  - {covers: [disk], mark: chosen}
"""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A project with a pipeline's folder, and no profile of a machine."""
    (tmp_path / "specs" / "hardware").mkdir(parents=True)
    return Files(tmp_path)


def test_a_profile_is_taken_over_field_by_field_in_bytes_and_fractions(files: Files) -> None:
    assert yaml.safe_load(TEXT)
    (files.specs / "hardware" / "small.yaml").write_text(TEXT)
    found = hardware.load(files, "small")
    assert (found.name, found.title, found.device) == ("small", "a small card", "cuda")
    assert (found.peak, found.mfu, found.per_node) == (3 * 10**12, 0.25, 4)
    assert (found.memory, found.runtime, found.disk) == (5 * 10**9, 10**9, 7 * 10**9)
    assert (found.block_ms, found.step_ms) == (0.5, 2.0)
    assert (found.side, found.positions) == (Fraction(1, 2), Fraction(1, 4))
    assert found.sources == (
        ("peak, memory", "published", "its datasheet"),
        ("mfu, per_node, runtime, overhead, images", "assumed", "nothing is published"),
        ("disk", "chosen", ""),
    )


@pytest.mark.parametrize(("engine_class", "reached"), [("torch-bf16", 3e12 / 4), ("nemo-fp32", 2e11 / 4)])
def test_a_stage_in_fp32_is_priced_on_the_peak_in_fp32(files: Files, engine_class: str, reached: float) -> None:
    (files.specs / "hardware" / "small.yaml").write_text(
        replaced(TEXT, "mfu: 25%", "peak_fp32: 200B\nmfu: 25%", "[peak, ", "[peak, peak_fp32, ")
    )
    of: Any = SimpleNamespace(engine_class=engine_class)
    assert hardware.load(files, "small").reached(of) == reached


def test_a_cpu_has_one_peak(files: Files) -> None:
    (files.specs / "hardware" / "small.yaml").write_text(
        replaced(TEXT, "cuda", "cpu", "mfu: 25%", "peak_fp32: 200B\nmfu: 25%")
    )
    with pytest.raises(UserError, match=r"small.yaml:3: device: found cpu; allowed: cuda.*`peak_fp32`"):
        hardware.load(files, "small")


def test_a_project_without_profiles_says_so(files: Files) -> None:
    with pytest.raises(UsageError, match="found 'h100'; allowed: none: specs/hardware has no profile"):
        hardware.load(files, "h100")


def test_each_kind_of_device_has_a_profile_unless_another_is_named() -> None:
    assert (hardware.usual("cpu"), hardware.usual("cuda")) == ("laptop_cpu", "h100")


def test_a_scale_whose_machine_has_no_profile_is_told_what_to_write_or_to_name(files: Files) -> None:
    scale: Any = SimpleNamespace(scale="big", device="cuda")
    begin = (
        "specs/hardware/h100.yaml: not there; scale big, on device cuda, is priced on it. Copy it from a project that "
        "`stages init DIR --example ouro` makes, or name another "
    )
    with pytest.raises(UserError) as caught:
        hardware.load_usual(files, scale)
    assert str(caught.value) == f"{begin}profile with --hardware: there is none."
    for name in ("small", "tiny"):
        (files.specs / "hardware" / f"{name}.yaml").write_text(TEXT)
    with pytest.raises(UserError) as caught:
        hardware.load_usual(files, scale)
    assert str(caught.value) == f"{begin}profile with --hardware: small, tiny."
