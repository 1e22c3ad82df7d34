"""What each field of the files below specs/ says, for the JSON Schemas: editors show it beside the key.

The texts are in field_texts.yaml. Domains add which values are allowed.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml


@cache
def texts() -> dict[str, str]:
    """Texts by a field's name, or by `Class.field` where a name says another thing there."""
    found: dict[str, str] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    return found


def text(owner: str, name: str) -> str | None:
    """The text of a field of a class (or, in mappings of resolved values, of the field around them)."""
    return texts().get(f"{owner}.{name}", texts().get(name))
