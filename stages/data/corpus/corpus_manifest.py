"""manifest.json of a prepared corpus: what it was made of, what was left out, and what it came to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from stages.data.corpus.adopted import Adoption
from stages.data.spec import preparing
from stages.data.tokens.unknown import Unknown
from stages.errors import UserError
from stages.spec.schema.corpora import Kind
from stages.store import json_file
from stages.store.manifest import NAME as MANIFEST
from stages.store.shards import Count, Hex64, Shard

ManifestKind = Kind | Literal["tokenizer"]


class Skipped(json_file.Strict):
    """A bad row that was left out, as the spec allows: its file, its line (or row of a table) and what is wrong."""

    file: str
    line: Annotated[int, Field(ge=1)]
    why: str


class Left(json_file.Strict):
    """Documents, and their tokens."""

    documents: Count
    tokens: Count


class Matched(Left):
    """Documents with text of an evaluation set, which has `of` documents, `short` of them without an n-gram."""

    of: Count
    short: Count


class Separate(json_file.Strict):
    """Conversations of which each answer is a document, and the tokens of all documents but each one's last.

    Of what was read; duplicates that were left out count too.
    """

    conversations: Count
    repeated: Count


class Inputs(json_file.Strict):
    """What a user's corpus was made of: how many files and bytes, and a digest over their names, sizes and digests.

    `skipped` are the rows that were left out, `duplicates` how many documents were, since another one says the same;
    `without`, by corpus, those that another corpus has; `decontaminated`, by evaluation set, those with text of it,
    which are left out or only reported, as the spec says; `unknown` is what the tokenizer has no token for.
    """

    files: Count
    bytes: Count
    digest: Hex64
    skipped: list[Skipped] = Field(default_factory=list)
    duplicates: Count = 0
    without: dict[str, Left] | None = None
    decontaminated: dict[str, Matched] | None = None
    separate: Separate | None = None
    unknown: Unknown | None = None


class DataManifest(json_file.Strict):
    """manifest.json of a prepared corpus: deterministic, so that the same preparation gives the same bytes.

    `inputs` is of a user's own files only, `adopted` of token files that are referred to and not copied. `pixels` is
    there where pictures have colours.
    """

    schema_version: Annotated[int, Field(ge=1, le=1)]
    corpus: str
    kind: ManifestKind
    digest: Hex64
    tokenizer: Hex64
    size: Count
    documents: Count
    longest: Count
    heldout: Count
    cell: Count  # pixels a side that make one <image> token; 0 where there are no pictures
    patch: Count  # pixels a side of the image encoder's patches; 0 where there are no pictures
    channels: Count
    pixels: Literal["rgb"] | None = None
    shards: list[Shard]
    inputs: Inputs | None = None
    adopted: Adoption | None = None

    @property
    def unknown(self) -> Unknown | None:
        """What the tokenizer has no token for, if anything."""
        return next((one.unknown for one in (self.inputs, self.adopted) if one is not None), None)


_MANIFEST = TypeAdapter(DataManifest)


def read_manifest(folder: Path) -> DataManifest:
    """Read manifest.json. Raises UserError if the corpus is not there or the file is damaged, and OSError."""
    path = folder / MANIFEST
    try:
        return json_file.read_as(path, _MANIFEST)
    except json_file.MissingFileError:
        raise UserError(f"{path}: corpus {folder.name} is not prepared; run `{preparing(folder)}`") from None
    except json_file.JsonFileError as error:
        raise UserError(f"{error}; `{preparing(folder)}` rebuilds it") from None
