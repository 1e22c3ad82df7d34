"""The tokenizer.json that lies in a released model's folder has to cut as the one that the model's data is cut with.

Ids of another tokenizer are rows of the table all the same: the loss begins high and falls, and what the model had
learned is lost (I-41). One that has further tokens behind is allowed: they are rows that the model pads with or gets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.data.tokens.tokenizer import read_tokens
from stages.errors import UserError
from stages.store import json_file

CUT = ("normalizer", "pre_tokenizer", "model")


def refuse_other(theirs: Path, ours: Path) -> None:
    """Raise UserError where the file of a release and that of the stage's tokenizer cut otherwise. Both are there."""
    found, wanted = theirs.read_bytes(), ours.read_bytes()
    if found == wanted or (why := _differing(_read(found, theirs), _read(wanted, ours))) is None:
        return
    raise UserError(
        f"{theirs}: {why}; allowed: what {ours} has, the tokenizer of the pipeline. Give the folder of the model that "
        "was trained with it, or declare the folder's own tokenizer in specs/tokenizers and prepare the data again."
    )


def _read(data: bytes, path: Path) -> dict[str, Any]:
    """tokenizer.json as this version of `tokenizers` writes it: older ones write the same in other words."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as UTF-8 ({error})") from None
    found: dict[str, Any] = json_file.parse(read_tokens(text, path).to_str().encode(), path)
    return found


def _differing(theirs: dict[str, Any], ours: dict[str, Any]) -> str | None:
    """What is other, in words; None where the two cut alike."""
    mine = {token["content"]: token["id"] for token in ours["added_tokens"]}
    for token in theirs["added_tokens"]:
        if mine.get(token["content"]) != token["id"]:
            return f"token {token['content']!r} has id {token['id']}, not {mine.get(token['content'], 'none')}"
    if theirs["model"].get("type") == ours["model"].get("type"):
        words = ours["model"]["vocab"], theirs["model"]["vocab"]
        if isinstance(words[0], dict) and words[0] != words[1]:
            word = min(one for one in {**words[0], **words[1]} if words[0].get(one) != words[1].get(one))
            return f"token {word!r} has id {words[1].get(word, 'none')}, not {words[0].get(word, 'none')}"
    wrong = [key for key in CUT if theirs[key] != ours[key]]
    return f"another {wrong[0]}" if wrong else None
