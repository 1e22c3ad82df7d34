"""Tasks of lm-evaluation-harness, as far as they can be read without it: names, and a folder with some of one's own."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from stages.spec import quantities, units
from stages.spec.schema.paths import folder

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
    allowed, repair = "a folder of the project, such as tasks/mine", "Copy the tasks into the project."
    path = folder(value, allowed, repair)
    if path == PurePosixPath("."):
        raise quantities.BadQuantity(quantities.describe(value), allowed, repair)
    return str(path)


Tasks = Annotated[
    list[str], AfterValidator(_names), AfterValidator(units.each_once), Field(json_schema_extra={"uniqueItems": True})
]
TaskFolder = Annotated[str, BeforeValidator(_folder)]
