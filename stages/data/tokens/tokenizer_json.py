"""Of a tokenizer.json, what is read besides what the library `tokenizers` makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from stages.store import json_file


class Added(BaseModel):
    """A token outside of the vocabulary, and its id as the file says."""

    content: str
    id: int


class Model(BaseModel):
    """What decides which texts have no token."""

    type: str | None = None  # old files have none
    unk_token: str | None = None
    unk_id: int | None = None
    byte_fallback: bool | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None


class TokenizerJson(BaseModel):
    """The file, without its vocabulary and merges."""

    model: Model
    added_tokens: list[Added] = []
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None


_FILE = TypeAdapter(TokenizerJson)


def read(text: str, at: Path) -> TokenizerJson:
    """A file of this text. Raises JsonFileError for a field of another kind; `at` is the file's name."""
    return json_file.validate(text.encode(), at, _FILE)
