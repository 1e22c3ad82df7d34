"""What specs/tokenizers/<name>.yaml may have: a tokenizer that somebody has published, and the roles of its tokens."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from stages.spec import quantities
from stages.spec.fields import Raw, Text, Vocabulary
from stages.spec.names import Name
from stages.spec.nodes import Document
from stages.spec.schema.corpora import Digest
from stages.spec.schema.paths import folder
from stages.spec.validate import unmeasured, validate

MEASURED = ("vocab", "digest")  # what `stages tokenizer NAME --accept` prints


def _token(value: object) -> object:
    """A token as text; `none` is that there is no such token."""
    if not isinstance(value, str) or not value:
        raise quantities.BadQuantity(
            quantities.describe(value), "a token's text, or none", "Write it in quotes: '<s>'."
        )
    return None if value == "none" else value


def _folder(value: object) -> object:
    folder(value, "a folder relative to the project's, such as tokenizers/mine", "Copy the files into the project.")
    return value


Token = Annotated[str | None, BeforeValidator(_token)]


class RawRoles(Raw):
    """Which special token has which role. The marks of reasoning and the token of a picture may be left out."""

    bos: Token
    eos: Token
    pad: Token
    turn_begin: Token
    turn_end: Token
    image: Token = None
    think: Token = None
    end_think: Token = None


class RawTokenizerFiles(Raw):
    """specs/tokenizers/<name>.yaml: the folder `path` contains tokenizer.json, and a chat template if there is one.

    `vocab` is one more than the largest id. `digest` covers tokenizer.json, the template and the ids of the roles.
    """

    tokenizer: Name
    source: Text  # the hub's id: pipelines that name it are given this tokenizer where they read published corpora
    revision: Text
    licence: Text
    path: Annotated[str, BeforeValidator(_folder)]
    vocab: Vocabulary
    digest: Digest
    roles: RawRoles
    extends: Name | None = None  # another of specs/tokenizers, all of whose tokens keep their ids here


def tokenizer(document: Document, declared: bool = True) -> RawTokenizerFiles:
    """A tokenizer's spec; without `declared`, what is measured may still be missing. Raises InvalidSpecs."""
    command = f"stages tokenizer {document.value.get('tokenizer')} --accept"
    missing = unmeasured(document, MEASURED, declared, "what the tokenizer's files came out with", command)
    blank = {key: "0" * 64 if key == "digest" else "1_000_000" for key in missing}
    return validate(Document({**document.value, **blank}, document.places), RawTokenizerFiles)
