"""What specs/hardware may hold: the machines that a plan is priced on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stages.spec.fields import Memory, Rate, Raw, Share, Tokens
from stages.spec.sources import RawSource


class RawImages(Raw):
    """What the specs cannot know about images in a token stream, and a price needs."""

    side: Share  # of the vision tower's position table
    positions: Share  # of a multimodal row that are image tokens


class RawOverhead(Raw):
    """Time that does not depend on the amount of work, in milliseconds."""

    block_ms: Rate  # for every block that a logical micro-batch passes, forward and backward
    step_ms: Rate  # for every optimizer step


class RawHardware(Raw):
    """specs/hardware/<name>.yaml: one device, and the assumptions under which work on it is priced."""

    hardware: str
    title: str
    device: Literal["cpu", "cuda"]
    peak: Tokens  # operations a second, of matrix products in the precision trained in
    mfu: Share  # share of the peak that model FLOPs reach
    memory: Memory  # of one device
    runtime: Memory  # taken before the first parameter: libraries, context, buffers
    activations: Literal["recomputed", "kept"]
    disk: Memory  # free on the file system of results/
    overhead: RawOverhead
    images: RawImages
    sources: list[RawSource] = Field(default_factory=list)
