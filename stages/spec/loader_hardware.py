"""Reads specs/hardware: one device a file."""

from __future__ import annotations

from stages.spec.files import Files, check_name, check_sources
from stages.spec.schema.hardware import RawHardware
from stages.spec.validate import validate


def load_hardware(files: Files, name: str) -> RawHardware:
    """The profile of specs/hardware/<name>.yaml. Raises SpecError for a mistake in it."""
    document = files.document(files.specs / "hardware" / f"{name}.yaml")
    raw = validate(document, RawHardware)
    check_name(document, "hardware", name)
    if raw.runtime >= raw.memory:
        raise document.error(
            ("runtime",), f"{raw.runtime / 1000:g} GB", f"less than `memory`, {raw.memory / 1000:g} GB",
            "It is what is in a device's memory before the first parameter.",
        )  # fmt: skip
    check_sources(document)
    return raw
