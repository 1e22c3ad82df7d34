"""Hardware profiles: specs/hardware/<name>.yaml, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, assert_never

from stages.contract.cost_phase import Assumed
from stages.errors import UsageError, UserError
from stages.spec.files import Files
from stages.spec.loader_data import load_hardware
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import computes_in_bf16
from stages.spec.schema.data import RawScale
from stages.spec.schema.hardware import RawHardware, RawRates
from stages.spec.validate import hint

MEGA = 10**6


@dataclass(frozen=True)
class Rates:
    """At what rates the torch engine works on a GPU: shares of the peak, and bytes a second."""

    products: float
    attention_exact: float
    attention_fast: float
    bandwidth: int
    flash4: bool  # whether the attention is FlashAttention 4's


@dataclass(frozen=True)
class Hardware:
    """One device: operations a second that are reached, bytes, milliseconds of overhead, and what is assumed."""

    name: str
    title: str
    device: Literal["cpu", "cuda"]
    peak: int
    mfu: float
    memory: int
    runtime: int
    per_node: int | None  # devices of a node, where the profile says
    disk: int
    block_ms: float
    step_ms: float
    side: Fraction  # of an image, relative to the position table's
    positions: Fraction  # share of a multimodal row that are image tokens
    sources: tuple[tuple[str, str, str], ...]  # (what it covers, mark, citation or reason)
    rates: Rates | None = None
    peak_fp32: int | None = None

    def reached(self, stage: Stage) -> float:
        """Operations a second of a stage on one device, in the precision of its engine class."""
        if self.peak_fp32 is not None and not computes_in_bf16(stage.engine_class):
            return self.peak_fp32 * self.mfu
        return self.peak * self.mfu

    @property
    def hours(self) -> str:
        """What an hour of the device is called."""
        match self.device:
            case "cuda":
                return "GPU-hours"
            case "cpu":
                return "core-hours"
            case _:
                assert_never(self.device)

    def assumed(self, lengths: Mapping[str, float]) -> Assumed:
        """What prices rest on apart from the specs, with what is known of the corpora."""
        return Assumed(self.side, self.positions, lengths)


def usual(device: Literal["cpu", "cuda"]) -> str:
    """The profile that a scale on such a device is priced on, unless another is named."""
    match device:
        case "cuda":
            return "h100"
        case "cpu":
            return "laptop_cpu"
        case _:
            assert_never(device)


def load(files: Files, name: str) -> Hardware:
    """The profile `name`. Raises UsageError for an unknown one, SpecError for a mistake in the file."""
    names = files.names("hardware")
    if name not in names:
        known = ", ".join(names) or "none: specs/hardware has no profile"
        raise UsageError(f"--hardware: found {name!r}; allowed: {known}. {hint(name, names)}")
    return of_raw(load_hardware(files, name))


def load_usual(files: Files, scale: RawScale) -> Hardware:
    """The profile that a scale is priced on. Raises UserError where there is none, SpecError for a mistake in it."""
    name = usual(scale.device)
    names = files.names("hardware")
    if name not in names:
        raise UserError(
            f"specs/hardware/{name}.yaml: not there; scale {scale.scale}, on device {scale.device}, is priced on it. "
            "Copy it from a project that `stages init DIR --example ouro` makes, or name another profile with "
            f"--hardware: {', '.join(names) or 'there is none'}."
        )
    return load(files, name)


def of_raw(raw: RawHardware) -> Hardware:
    """A profile as it is priced on: bytes, seconds, fractions."""
    return Hardware(
        name=raw.hardware,
        title=raw.title,
        device=raw.device,
        peak=raw.peak,
        peak_fp32=raw.peak_fp32,
        mfu=float(raw.mfu),
        memory=raw.memory * MEGA,
        runtime=raw.runtime * MEGA,
        per_node=raw.per_node,
        disk=raw.disk * MEGA,
        block_ms=float(raw.overhead.block_ms),
        step_ms=float(raw.overhead.step_ms),
        side=raw.images.side,
        positions=raw.images.positions,
        rates=None if raw.rates is None else _rates(raw.rates),
        sources=tuple((", ".join(one.covers), one.mark, one.citation or one.reason or "") for one in raw.sources),
    )


def _rates(raw: RawRates) -> Rates:
    attention = raw.attention
    return Rates(
        float(raw.products), float(attention.exact), float(attention.fast), raw.bandwidth, attention.by == "flash4"
    )
