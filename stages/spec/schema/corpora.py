"""What specs/data/<corpus>.yaml and specs/data/tokenizer.yaml may contain; `corpora` reads them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stages.spec import fields, quantities
from stages.spec.builders import PAIRED, PARAMETERS, PICTURE_EXTENSIONS
from stages.spec.mapping import Fields
from stages.spec.names import Name
from stages.spec.schema.paths import paths, prefixes, root

Kind = Literal["text", "sft", "multimodal", "pairs", "preference"]
MASKED: tuple[Kind, ...] = ("sft", "preference")  # whose documents say which of their tokens are answers
MEASURED = ("digest", "size", "documents", "longest", "heldout")  # what a preparation comes out with
UNDECLARED = "0" * 64  # the digest of what was not measured yet
Rows = Literal["messages", "sharegpt", "alpaca", "prompt_completion", "interleaved"]
"""The shapes of conversations; interleaved: texts and pictures in any order."""


def is_digest(value: object) -> bool:
    """Whether a value is 64 hex digits."""
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _digest(value: object) -> object:
    if is_digest(value):
        return value
    raise quantities.BadQuantity(
        quantities.describe(value), "a blake3 digest in lower-case hex", "`stages data NAME --accept` prints it."
    )


def _on_bad_row(value: object) -> object:
    if value == "stop":
        return None
    if isinstance(value, dict) and set(value) == {"skip"}:
        return value
    raise quantities.BadQuantity(quantities.describe(value), "stop, or {skip: N}", "Say how many rows may be left out.")


def shape_of(kind: Kind, rows: str | None) -> str:
    """What the rows of files look like: text, a shape of conversations, or of two answers to one prompt."""
    name = rows or ("text" if kind == "text" else "messages")
    return f"{PAIRED}{name}" if kind == "preference" else name


Digest = Annotated[str, BeforeValidator(_digest)]


class RawPackage(fields.Raw):
    """An installed package whose files a corpus is made of."""

    version: str
    files: fields.Names = Field(min_length=1)
    leave_out: fields.Names


class RawSkip(fields.Raw):
    """How many bad rows may be left out; all that are left out are listed in the manifest."""

    skip: fields.BadRows


class RawDecontaminate(fields.Raw):
    """Evaluation sets, by which of their documents count; `words` of an n-gram; what is done with what has one."""

    against: dict[Name, Literal["all", "heldout"]] = Field(min_length=1)
    words: fields.NGram
    found: Literal["remove", "report"]


class RawExtensions(fields.Raw):
    """Which members of a tar are a row's picture and its caption, by what follows the first dot of their names."""

    image: fields.NewNames = Field(default_factory=lambda: list(PICTURE_EXTENSIONS), min_length=1)
    text: Name = "txt"


class RawPacked(fields.Raw):
    """What fits into rows of one context: `rows` that whole documents fill in the corpus's order, `tokens` in them."""

    rows: fields.Measured
    tokens: fields.Measured


class RawCorpus(fields.Raw):
    """specs/data/<corpus>.yaml. `size` and `longest` are in `unit`; `size` leaves out the held-out documents.

    `packed` says, context by context, how many rows the training documents fill; those longer are left out.
    `tokenizer` is one of specs/tokenizers; without it, the local one of specs/data/tokenizer.yaml.
    """

    corpus: Name
    kind: Kind
    unit: Literal["tokens", "items"]
    builder: str
    digest: Digest
    size: fields.Measured
    documents: fields.Measured
    longest: fields.Measured
    heldout: fields.Measured
    packed: dict[fields.Context, RawPacked] = Field(default_factory=dict)
    parameters: Annotated[dict[str, int], Fields(PARAMETERS)] = Field(default_factory=dict)
    packages: dict[str, RawPackage] = Field(default_factory=dict)
    path: Annotated[str | tuple[str, ...] | None, BeforeValidator(paths)] = None
    tokenizer: Name | None = None
    root: Name | None = None
    rows: Rows | None = None
    columns: dict[str, str] | None = None
    extensions: RawExtensions | None = None
    on_bad_row: Annotated[
        RawSkip | None, BeforeValidator(_on_bad_row, json_schema_input_type=Literal["stop"] | RawSkip)
    ] = None  # stop
    duplicates: Literal["keep", "drop"] | None = None  # keep
    answers: Literal["together", "separate"] | None = None  # together
    pixels: Literal["grey", "rgb"] | None = None  # grey
    prefix: Annotated[str | tuple[str, ...] | None, BeforeValidator(prefixes)] = None
    without: fields.NewNames | None = None
    decontaminate: RawDecontaminate | None = None
    unknown: fields.Share | None = None

    @property
    def shape(self) -> str:
        """What its rows look like: text, a picture with its caption, or a shape of conversations."""
        if self.builder == "pictures":
            return self.rows or "pictures"
        return shape_of(self.kind, self.rows)


class RawRoots(fields.Raw):
    """specs/data/roots.yaml: folders outside the project that corpora are read from, on this machine."""

    roots: dict[Name, Annotated[str, BeforeValidator(root)]]


class RawTokenizer(fields.Raw):
    """specs/data/tokenizer.yaml: `vocab` tokens, trained on `characters` of each of the corpora."""

    tokenizer: Name
    vocab: fields.TokenizerVocabulary
    digest: Digest
    corpora: fields.Names = Field(min_length=1)
    characters: fields.Characters
