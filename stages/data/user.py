"""A user's own data: the documents of a JSON Lines or plain text file inside the project.

A row is {"text": "..."} or {"messages": [{"role": "user", "content": "..."}, ...]}; other keys of a row are ignored.
In plain text, blank lines separate documents. The first bad row ends it with file, line and what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.data.document import Document, chat, held_out, plain, text_part
from stages.data.draws import rank
from stages.data.spec import FOLDER, CorpusSpec
from stages.errors import UserError, Where

ROLES = ("system", "user", "assistant")
KEYS, OTHER = {"text": "text", "sft": "messages"}, {"text": "sft", "sft": "text"}
LINE_END = re.compile(r"\r\n|\n|\r")
HINT = {"text": '{"text": "..."}', "sft": '{"messages": [{"role": "user", "content": "..."}, ...]}'}


class BadRowError(UserError):
    """A row of a user's file that cannot be used."""

    def __init__(self, file: str, line: int, why: str, allowed: str) -> None:
        self.where = Where(file, line)
        super().__init__(f"{self.where}: {why}; allowed: {allowed}")


def documents(root: Path, corpus: CorpusSpec) -> list[Document]:
    """The documents of the file that a data spec names, some of them held out by the hash of what they say.

    Where that would hold out none or all, the document that comes first by rank is held out: evaluations need one.
    Raises BadRowError, or UserError when the file is missing, outside the project, or has fewer than two documents.
    """
    assert corpus.path is not None
    found = list(read(_inside(root, corpus), corpus.path, corpus.kind))
    identities = {document.identity for document in found}
    if len(identities) < 2:
        what = "blank lines between documents" if corpus.path.endswith(".txt") else f"one row like {HINT[corpus.kind]}"
        raise UserError(
            f"{corpus.path}: {len(identities)} different documents; allowed: at least two, since one is held out for "
            f"evaluations. Documents are told apart by {what}."
        )
    if len({document.heldout for document in found}) < 2:
        first = min(identities, key=lambda identity: rank("held out", identity))
        found = [replace(document, heldout=document.identity == first) for document in found]
    return found


def _inside(root: Path, corpus: CorpusSpec) -> Path:
    """The file itself, links followed. Raises UserError when it is not a file of the project."""
    at = f"{FOLDER / corpus.corpus}.yaml: path: {corpus.path}"
    try:
        real = (root / str(corpus.path)).resolve(strict=True)
    except (OSError, RuntimeError):
        raise UserError(f"{at}: there is no such file in {root}. Put it there, or correct the path.") from None
    if not real.is_relative_to(root.resolve()):
        raise UserError(f"{at}: a link that leads out of the project, to {real}; copy the file into the project.")
    if not real.is_file():
        raise UserError(f"{at}: not a file; name the file itself.")
    return real


def read(path: Path, name: str, kind: str) -> Iterator[Document]:
    """The documents of a file that messages call `name`; `kind` is text or sft. Raises BadRowError naming the line."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}") from None
    if path.suffix == ".jsonl":
        for number, line in enumerate(data.split(b"\n"), start=1):
            if line.strip():
                yield _row(name, number, line, kind)
    elif kind == "sft":
        raise UserError(f"{name}: plain text has no answers to supervise; allowed for sft: .jsonl of {HINT['sft']}")
    else:
        before = data[: _first_invalid(data)]
        if len(before) < len(data):
            raise BadRowError(name, before.count(b"\n") + 1, "not UTF-8", "text in UTF-8")
        for text in _paragraphs(data.decode("utf-8-sig")):
            yield plain(text, text, held_out(text))


def _paragraphs(text: str) -> Iterator[str]:
    """Stretches of lines that are not blank.

    Only LF, CRLF and CR end a line, and a blank line holds spaces and tabs at most: form feeds, U+2028 and the like are
    part of the text. A stretch in which nothing can be seen is no document.
    """
    lines: list[str] = []
    for line in [*LINE_END.split(text), ""]:
        if line.strip(" \t"):
            lines.append(line)
        elif lines:
            if any(line.strip() for line in lines):
                yield "\n".join(lines)
            lines = []


def _row(name: str, number: int, line: bytes, kind: str) -> Document:
    def bad(why: str) -> BadRowError:
        return BadRowError(name, number, why, HINT[kind])

    if _first_invalid(line) < len(line):
        raise bad("not UTF-8")
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise bad(f"not JSON ({error})") from None
    if not isinstance(row, dict):
        raise bad(f"found a {type(row).__name__} instead of an object")
    key = KEYS[kind]
    if key not in row:
        other = f", as kind {OTHER[kind]} has it" if KEYS[OTHER[kind]] in row else ""
        raise bad(f"the key {key!r} is missing (found: {', '.join(map(repr, row)) or 'none'}{other})")
    identity = json.dumps(row[key], sort_keys=True)
    if kind == "text":
        return plain(identity, _string(row["text"], "text", bad), held_out(identity))
    return chat(identity, [(role, text_part(said)) for role, said in _turns(row["messages"], bad)], held_out(identity))


def _turns(messages: Any, bad: Callable[[str], BadRowError]) -> Iterator[tuple[str, str]]:
    if not isinstance(messages, list) or not messages:
        raise bad("messages is not a list of turns" if not isinstance(messages, list) else "messages is empty")
    for place, turn in enumerate(messages):
        name = f"messages[{place}]"
        if not isinstance(turn, dict) or set(turn) != {"role", "content"}:
            raise bad(f"{name} does not have exactly the keys 'role' and 'content'")
        if turn["role"] not in ROLES:
            raise bad(f"{name}.role: found {turn['role']!r}, known are {', '.join(ROLES)}")
        yield turn["role"], _string(turn["content"], f"{name}.content", bad)
    if not any(turn["role"] == "assistant" for turn in messages):
        raise bad("no turn is the assistant's, so there is nothing to learn")


def _string(value: Any, name: str, bad: Callable[[str], BadRowError]) -> str:
    if not isinstance(value, str):
        raise bad(f"{name} is a {type(value).__name__} instead of a string")
    if not value.strip():
        raise bad(f"{name} is empty")
    if _is_surrogate(value):
        raise bad(f"{name} holds half of a surrogate pair, which is no character")
    return value


def _is_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _first_invalid(data: bytes) -> int:
    """Where UTF-8 breaks, or the length of the data."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return len(data)
