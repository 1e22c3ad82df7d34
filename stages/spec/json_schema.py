"""JSON Schemas of the files below specs/, for editors."""

from __future__ import annotations

from typing import Any

from stages.spec.fields import Raw
from stages.spec.schema import STAGES
from stages.spec.schema_corpora import RawCorpus, RawTokenizer
from stages.spec.schema_data import RawMixtures, RawPublishedCorpora, RawScale
from stages.spec.schema_hardware import RawHardware
from stages.spec.schema_pipeline import RawPipeline

FILES: dict[str, type[Raw]] = {
    "pipeline": RawPipeline,
    "mixtures": RawMixtures,
    "published": RawPublishedCorpora,
    "corpus": RawCorpus,
    "tokenizer": RawTokenizer,
    "scale": RawScale,
    "hardware": RawHardware,
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """One schema per kind of file: those of FILES, and stage_<kind>. Files of readings need not be complete."""
    files: dict[str, type[Raw]] = FILES | {f"stage_{kind}": model for kind, model in STAGES.items()}
    return {name: json_schema(model) for name, model in files.items()}


def json_schema(model: type[Raw]) -> dict[str, Any]:
    """The schema of one kind of file, by the keys and short forms that the file may hold."""
    return model.model_json_schema(by_alias=True, mode="validation")
