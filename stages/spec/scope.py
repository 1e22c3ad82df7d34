"""What every stage of a pipeline is resolved from, at a scale."""

from __future__ import annotations

from dataclasses import dataclass

from stages.spec.loader import LoadedPipeline
from stages.spec.loader_data import LoadedData
from stages.spec.scales import Scale
from stages.spec.schema.data import RawScale


@dataclass(frozen=True)
class Scope:
    """One pipeline at one scale, and the project's data."""

    pipeline: LoadedPipeline
    data: LoadedData
    raw_scale: RawScale
    scale: Scale  # how the pipeline's figures become those of the scale
