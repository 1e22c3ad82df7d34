"""What specs/hardware may contain: the machines that a plan is priced on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stages.spec.fields import DeviceMemory, Disk, Milliseconds, Operations, Part, Ranks, Raw, RuntimeMemory
from stages.spec.names import Name
from stages.spec.sources import RawSource


class RawImages(Raw):
    """What the specs cannot know about images in a token stream, and a price needs."""

    side: Part  # of the vision tower's position table
    positions: Part  # of a multimodal row that are image tokens


class RawOverhead(Raw):
    """Time that does not depend on the amount of work, in milliseconds."""

    block_ms: Milliseconds  # for every block that a logical micro-batch passes, forward and backward
    step_ms: Milliseconds  # for every optimizer step


class RawAttention(Raw):
    """Shares of the peak that attention reaches, by `determinism`; half of the causal square is counted."""

    by: Literal["torch", "flash4"] = "torch"  # whose kernels: FlashAttention 4's where flash-attn-4 is installed
    exact: Part
    fast: Part


class RawRates(Raw):
    """At what rates the torch engine works on a GPU in bf16, where they were measured."""

    products: Part  # share of the peak that products with weights reach
    attention: RawAttention
    bandwidth: Operations  # bytes a second that are moved through its memory


class RawHardware(Raw):
    """specs/hardware/<name>.yaml: one device, and the assumptions under which work on it is priced."""

    hardware: Name
    title: str
    device: Literal["cpu", "cuda"]
    peak: Operations  # operations a second, of matrix products: in bf16 on a GPU, in fp32 on a CPU
    peak_fp32: Operations | None = None  # of a GPU, in fp32, which its tensor cores do not compute
    mfu: Part  # share of the peak that model FLOPs reach
    per_node: Ranks | None = None  # devices of one node
    memory: DeviceMemory  # of one device
    runtime: RuntimeMemory  # taken before the first parameter: libraries, context, buffers
    disk: Disk  # free on the file system of results/
    overhead: RawOverhead
    rates: RawRates | None = None  # of the torch engine on a GPU; without them, `mfu`
    images: RawImages
    sources: list[RawSource] = Field(default_factory=list)
