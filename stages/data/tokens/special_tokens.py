"""The tokens outside of a published tokenizer's vocabulary: they keep their ids, and no text turns into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from stages.data.tokens.roles import Roles
from stages.data.tokens.tokenizer_json import TokenizerJson
from stages.errors import UserError

OF_TEXT = ("think", "end_think")  # roles whose tokens texts may write


def refuse_other_ids(tokenizer: Tokenizer, file: TokenizerJson, at: Path) -> None:
    """Raise UserError where an added token has another id than its file says.

    `tokenizers` numbers added tokens one after the other, whatever ids be there: a gap moves all that come behind.
    """
    for token in file.added_tokens:
        found = tokenizer.token_to_id(token.content)
        if found != token.id:
            raise UserError(
                f"{at}: added_tokens: {token.content!r} has the id {token.id}, and `tokenizers` reads it as {found}, "
                "since it numbers added tokens one after the other. Fill the gap with tokens that nothing uses, or "
                "take the tokenizer.json that was published."
            )


def refuse_dropout(tokenizer: Tokenizer, at: Path) -> None:
    """Raise UserError for a BPE with dropout (arXiv 1910.13267): each cut of a text draws other tokens."""
    dropout = getattr(tokenizer.model, "dropout", None)
    if dropout:
        raise UserError(
            f"{at}: model.dropout: found {dropout:g}; allowed: null, since each cut of a text would draw other tokens."
        )


def keep_apart(tokenizer: Tokenizer, roles: Roles) -> None:
    """Have the tokens of roles be special where the file does not mark them so: a text may not turn into them."""
    added = tokenizer.get_added_tokens_decoder()
    for name, number in roles.by_name().items():
        if number is not None and name not in OF_TEXT and not (number in added and added[number].special):
            token = AddedToken(tokenizer.id_to_token(number), special=True, normalized=False)
            tokenizer.add_special_tokens([token])


def normalizer(tokenizer: Tokenizer) -> Any:
    """The normalizer, if special tokens are looked for in what it makes of a text; None where in the text as it is."""
    added = tokenizer.get_added_tokens_decoder().values()
    return tokenizer.normalizer if any(token.special and token.normalized for token in added) else None
