"""Columns that rows of another kind of corpus have, for messages: what the spec of such a corpus says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.errors import page
from stages.spec.builders import COLUMNS, PAIRED, PICTURE_ROWS

OPTIONAL = ("system", "history", "input", "tools")
PICTURES = "builder pictures"
NAMED = "; `columns: {{{}: NAME}}` in its spec names another"
UNNAMED = ("text", "messages", f"{PAIRED}messages", "pictures")  # shapes that no `rows` names


def fitting(row: Mapping[str, Any], shape: str) -> str:
    """What says of a row of these columns what it is, such as "kind preference"; empty where nothing but `shape` does.

    Of several shapes, the one that needs most columns. A prompt next to two answers may stand alone, or before both of
    them once more: where its values (of a table's column, an empty one of its type or None) do not say it, rows are
    left out.
    """
    found = [
        name
        for name, columns in COLUMNS.items()
        if name != shape and {one for one in columns if one not in OPTIONAL} <= set(row)
    ]
    if not isinstance(row.get("content"), list) and PICTURE_ROWS[0] in found:  # text, which many call so
        found.remove(PICTURE_ROWS[0])
    if not found:
        return ""
    name = max(found, key=lambda one: len([column for column in COLUMNS[one] if column not in OPTIONAL]))
    alone = name == f"{PAIRED}prompt_completion"
    if alone and (row["prompt"] is None or type(row["prompt"]) is not type(row["chosen"])):
        name = f"{PAIRED}messages"
    return _kind(name) + ("" if name in UNNAMED else f" with rows: {name.removeprefix(PAIRED)}")


def hint(row: Mapping[str, Any], shape: str, lacking: str) -> str:
    """The same, behind the columns of a row that lacks one; else how a spec says what the columns are."""
    other = fitting(row, shape)
    if other or not row:
        return f", as {other} has it" if other else ""
    return NAMED.format(lacking) + ("" if shape == "text" else ", `rows` another form")


def of_pictures(row: Mapping[str, Any], shape: str, lacking: str) -> str:
    """The same of a row that should have pictures: no kind without them is named, since it would lose them."""
    other = fitting(row, shape)
    if other.startswith(PICTURES):
        return f", as {other} has it"
    if "conversations" in row:
        return f"; `llava` in {page('known-data')} makes messages of it"
    return f"{NAMED.format(lacking)}, `rows` another form" if row else ""


def _kind(shape: str) -> str:
    if shape in ("pictures", PICTURE_ROWS[0]):
        return PICTURES
    return f"kind {'preference' if shape.startswith(PAIRED) else 'text' if shape == 'text' else 'sft'}"
