"""Profiles of machines with figures that the machine does not have: plans, and the findings about memory and time, rest
on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

from stages.errors import InvalidSpecs
from stages.spec.nodes import Path
from stages.spec.project import Project
from stages.spec.schema.hardware import RawHardware

GB = 1000  # megabytes, in which a profile's memory is read
TERA = 10**12
MARGIN = Fraction(102, 100)
MOST_A_NODE = 16  # DGX-2; others have 8 and fewer
MOST_REACHED = Fraction(7, 10)  # of the peak: arXiv 2407.21783 has 38% to 43%, 2104.04473 52%


@dataclass(frozen=True)
class Device:
    """The most that any version of a device has: operations a second (dense, bf16), GB, bytes a second."""

    peak: int
    memory: int
    bandwidth: int


# NVIDIA's and AMD's datasheets. What they print for sparse matrices is twice the peak.
KNOWN = {
    "A100": Device(312 * 10**12, 80, 2_039 * 10**9),
    "H100": Device(990 * 10**12, 94, 3_940 * 10**9),
    "H200": Device(990 * 10**12, 141, 4_800 * 10**9),
    "B200": Device(2_500 * 10**12, 192, 8_000 * 10**9),
    "L40S": Device(362 * 10**12, 48, 864 * 10**9),
    "MI300X": Device(1_308 * 10**12, 192, 5_300 * 10**9),
}


def implausible(project: Project) -> Iterator[str]:
    """A notice for each figure of a profile that is above its device's, or above any node's or run's."""
    for name in project.files.names("hardware"):
        with suppress(InvalidSpecs):  # a finding
            raw = project.machine(name)
            if raw is not None and raw.device == "cuda":
                document = project.files.entry("hardware", name)
                yield from (f"{document.where(at)}: {said}." for at, said in (*_of_any(raw), *_of_known(raw)))


def _of_any(raw: RawHardware) -> Iterator[tuple[Path, str]]:
    if (raw.per_node or 0) > MOST_A_NODE:
        yield ("per_node",), f"{raw.per_node} devices on a node; nodes have 4, 8 or {MOST_A_NODE}"
    if raw.mfu > MOST_REACHED:
        yield ("mfu",), f"{float(raw.mfu):.0%} of the peak; training reaches 30% to 55% (arXiv 2104.04473, 2407.21783)"


def _of_known(raw: RawHardware) -> Iterator[tuple[Path, str]]:
    words = re.findall(r"[A-Z0-9]+", f"{raw.hardware} {raw.title}".upper().replace("_", " "))
    for known in dict.fromkeys(word for word in words if word in KNOWN):
        device, bandwidth = KNOWN[known], raw.rates.bandwidth if raw.rates is not None else 0
        if raw.peak > device.peak * MARGIN:
            has = f"{device.peak / TERA:.0f}T for dense bf16, and datasheets print twice that for sparse"
            yield ("peak",), f"{raw.peak / TERA:.0f}T operations a second; an {known} has {has}"
        if raw.memory > device.memory * GB * MARGIN:
            yield ("memory",), f"{raw.memory / GB:.0f} GB; an {known} has {device.memory} GB at most"
        if bandwidth > device.bandwidth * MARGIN:
            has = f"{device.bandwidth / TERA:.3g}T at most"
            yield ("rates", "bandwidth"), f"{bandwidth / TERA:.3g}T bytes a second; an {known} has {has}"
