"""Tasks of lm-evaluation-harness, as far as they can be read without it: names, and a folder with some of one's own."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from stages.spec import quantities, units

# Every name of the 14,683 tasks and groups of lm-evaluation-harness 0.4.13 is one of these.
TASK = r"[A-Za-z0-9][A-Za-z0-9_.+()-]{0,199}"


def _names(names: list[str]) -> list[str]:
    for index, name in enumerate(names):
        if re.fullmatch(TASK, name) is None:
            allowed = "a task's name: letters, digits and _ . + - ( )"
            raise quantities.BadQuantity(quantities.describe(name), allowed, "Write one name an entry.", (index,))
    return names


def _folder(value: object) -> object:
    """A folder below the project."""
    found, allowed = quantities.describe(value), "a folder of the project, such as tasks/mine"
    if not isinstance(value, str) or not value.strip() or "\\" in value:
        raise quantities.BadQuantity(found, allowed, "Write the path with forward slashes.")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or value.startswith("~") or path == PurePosixPath("."):
        raise quantities.BadQuantity(found, allowed, "Copy the tasks into the project.")
    return str(path)


Tasks = Annotated[
    list[str], AfterValidator(_names), AfterValidator(units.each_once), Field(json_schema_extra={"uniqueItems": True})
]
TaskFolder = Annotated[str, BeforeValidator(_folder)]
