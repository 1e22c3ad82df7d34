"""What a corpus keeps of a published tokenizer: its tokens, and how they are used."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from stages.data.spec import preparing
from stages.data.tokens.roles import LOCAL, Roles
from stages.data.tokens.tokenizer_files import TokenizerFiles
from stages.errors import UserError
from stages.store import json_file

FILE, USE = "tokenizer.json", "tokenizer_use.json"  # the tokens; how they are used


class _Use(json_file.Strict):
    """tokenizer_use.json of a corpus: how its tokenizer's tokens are used."""

    template: str | None
    words: dict[str, str]
    roles: dict[str, int | None]


_USE = TypeAdapter(_Use)


def kept(files: TokenizerFiles, roles: Roles) -> dict[str, bytes]:
    """The files that a corpus keeps, by name."""
    use = _Use(template=files.template, words=files.words, roles=roles.by_name())
    return {FILE: files.tokens.encode(), USE: json_file.encode(use.model_dump(mode="json"))}


def files_of_corpus(folder: Path) -> tuple[TokenizerFiles, Roles] | None:
    """The tokenizer that a prepared corpus keeps; None where it is the local one. Raises UserError."""
    if not (folder / USE).is_file():
        return None
    use = _read_use(folder)
    tokens = (folder / FILE).read_text(encoding="utf-8")
    return TokenizerFiles(tokens, use.template, use.words), Roles(**use.roles)


def roles_of_corpus(folder: Path) -> Roles:
    """The roles of a prepared corpus's special tokens."""
    return Roles(**_read_use(folder).roles) if (folder / USE).is_file() else LOCAL


def _read_use(folder: Path) -> _Use:
    try:
        return json_file.read_as(folder / USE, _USE)
    except json_file.JsonFileError as error:
        raise UserError(f"{error}; `{preparing(folder)}` rebuilds it") from None
