"""results/records/refused.md from the tests' own tables: `python -m tests.refused`, as `make record` does.

Each row is a test case that `make test` runs, with the message that it is held to. Nothing is counted by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.unit.data import files_of_users as formats
from tests.unit.data import test_adopted_refused as adopted
from tests.unit.data import test_bad_files as bad_files
from tests.unit.data import test_chat_templates as templates
from tests.unit.data import test_conversation_rows as conversations
from tests.unit.data import test_entry_files as listed
from tests.unit.data import test_hostile_files as lines
from tests.unit.data import test_hostile_pictures as pictures
from tests.unit.data import test_hostile_rows as rows
from tests.unit.data import test_hostile_tables as tables
from tests.unit.data import test_hostile_templates as hostile_templates
from tests.unit.data import test_pictures_in_chats_refused as chats
from tests.unit.data import test_separate_answers as separate
from tests.unit.data import test_unknown as unknown
from tests.unit.models import test_published_configs as published_configs
from tests.unit.models import test_release_configs as configs
from tests.unit.models import test_release_files as release_files
from tests.unit.models import test_release_folders as folders
from tests.unit.models import test_release_siglip as siglip
from tests.unit.store import test_contained as contained

PATH = Path(__file__).resolve().parents[1] / "results/records/refused.md"
LONGEST = 90  # characters of a message
Case = tuple[str, str, str]  # of what, the case, what it comes to
HEAD = """\
# What is refused, and what is taken

Cases of the tests under `tests/unit`, each of which `make test` runs: a folder or file that is wrong is refused by its
own message, one that only looks strange is taken. Written by `python -m tests.refused`, from the tests' own tables.
"""


def refused(of: str, cases: Mapping[str, tuple[Any, ...]] | Iterable[tuple[Any, ...]]) -> Iterator[Case]:
    """Cases whose last entry is the pattern that the message has to match."""
    named = cases.items() if isinstance(cases, Mapping) else ((str(one[0]), one) for one in cases)
    for name, case in named:
        message = str(case[-1]).replace("\\", "")
        short = message if len(message) <= LONGEST else f"{message[:LONGEST]}..."
        yield of, name, f"refused: `{short.replace('`', chr(39)).replace('|', '/')}`"


def taken(of: str, cases: Iterable[str]) -> Iterator[Case]:
    """Cases that are right."""
    return ((of, name, "taken") for name in cases)


def releases() -> list[Case]:
    """Folders of released models."""
    return [
        *refused("config.json of a language model", configs.CONFIGS),
        *refused("config.json as it was published, edited", published_configs.REFUSED),
        *refused("files of a language model", release_files.FILES),
        *refused("config.json of SigLIP", siglip.CONFIGS),
        *refused("tensors of SigLIP", siglip.BAD),
        *refused("a link or a pipe", contained.WRONG),
        *taken("a folder that transformers writes", folders.GOOD),
    ]


def data() -> list[Case]:
    """Files, rows and conversations."""
    return [
        *refused("a file", bad_files.BAD_FILES),
        *refused("a pattern or a folder", listed.REFUSED),
        *refused("a file", rows.FILES),
        *refused("an index of Megatron's", adopted.INDEXES),
        *refused("ids of a Megatron dataset", adopted.IDS),
        *refused("a value of a table", tables.VALUES),
        *refused("a column of a table", tables.COLUMNS),
        *refused("a line", lines.REFUSED),
        *refused("a conversation", conversations.BAD_ROWS),
        *refused("a conversation", rows.ROWS),
        *refused("a conversation and a chat template", templates.BAD),
        *refused("a chat template that leaves something out", hostile_templates.LEFT_OUT),
        *refused("a chat template's marks", hostile_templates.MARKS),
        *refused("a chat template that writes an answer twice", hostile_templates.TWICE),
        *refused("a chat template's code", hostile_templates.RAISES),
        *refused("an answer behind what asks for it", separate.ASKED),
        *refused("a tokenizer that loses text", unknown.LOST),
        *refused("a picture", pictures.PICTURES),
        *refused("a row of a tar", pictures.SAMPLES),
        *refused("a tar", pictures.TARS),
        *refused("a row that names a picture", pictures.ROWS),
        *refused("a chat with a picture", chats.BAD),
        *taken("a format", formats.FORMATS),
        *taken("a shape of conversations", formats.SHAPES),
        *taken("a line", lines.TAKEN),
        *taken("a folder", listed.TAKEN),
    ]


def text() -> str:
    """The page."""
    return "\n".join([HEAD, *_table("Folders of released models", releases()), *_table("Data", data())])


def _table(title: str, cases: list[Case]) -> Iterator[str]:
    count = sum(outcome != "taken" for _, _, outcome in cases)
    yield f"## {title}: {count} refused, {len(cases) - count} taken\n"
    yield "| of | case | comes to |\n|---|---|---|"
    yield from (f"| {' | '.join(case)} |" for case in cases)
    yield ""


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
