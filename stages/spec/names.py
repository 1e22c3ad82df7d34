"""Names of pipelines, stages, modules, corpora and whatever else specs name: one pattern for all of them.

Names become folders, rules of Snakemake, stages of DVC, names of jobs and words of commands, on file systems that do
not tell capitals from small letters too. So they are made of what means nothing to any of these.
"""

from __future__ import annotations

import keyword
import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from stages.spec import quantities

PATTERN = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"
LONGEST = 64  # characters: a marker's file is named by a stage and its key
ALLOWED = f"small letters, digits and single underscores, a letter first, up to {LONGEST} characters"
# Folders of specs/ that contain something else.
NOT_PIPELINES = frozenset({"data", "scales", "hardware", "tokenizers", "releases"})
# Words that files of rules/ or rules of Snakemake are named by already.
TAKEN = NOT_PIPELINES | {"common", "all", "variants", "stage", "corpus"} | frozenset(keyword.kwlist)


def is_name(text: object) -> bool:
    """Whether something may be called so."""
    return isinstance(text, str) and len(text) <= LONGEST and re.fullmatch(PATTERN, text) is not None


def _name(value: object) -> object:
    if is_name(value):
        return value
    raise no_name(value)


def no_name(value: object) -> quantities.BadQuantity:
    """The error where something cannot be called so."""
    path = isinstance(value, str) and "/" in value
    repair = "Write the name alone, not a path." if path else "Choose another name."
    return quantities.BadQuantity(quantities.describe(value), ALLOWED, repair)


def _phase(value: object) -> object:
    """A phase is never a file or a rule of its own, and is often called by its context: 32k."""
    return value if isinstance(value, str) and value[:1].isdigit() and is_name(f"p{value}") else _name(value)


def _schema(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "maxLength": LONGEST, "description": ALLOWED})


Name = Annotated[str, BeforeValidator(_name), _schema(PATTERN)]
PhaseName = Annotated[str, BeforeValidator(_phase), _schema(PATTERN.replace("[a-z]", "[a-z0-9]", 1))]
