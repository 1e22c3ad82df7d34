"""The data specs, specs/data/<name>.yaml: what a corpus is made of, and the digest and counts it must come out with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from stages.data.packages import PackageSource
from stages.errors import UserError
from stages.spec import domains
from stages.spec.files import Files
from stages.spec.loader_data import load_corpus
from stages.spec.nodes import Document
from stages.spec.schema_corpora import MEASURED, RawTokenizer
from stages.spec.validate import validate

FOLDER = Path("specs") / "data"
TOKENIZER = "tokenizer"
NOT_CORPORA = ("mixtures", "published")

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Kind = Literal["text", "sft", "multimodal", "pairs"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Package(_Model):
    version: str
    files: Annotated[list[str], Field(min_length=1)]
    leave_out: list[str]


class Packed(_Model):
    """What fits into rows of one context: rows that whole documents fill in the corpus's order, and their tokens."""

    rows: Count
    tokens: Count


class CorpusSpec(_Model):
    """One data spec. `unit`: what `size`, and the offsets of a phase's sources, count (tokens, or items for pairs).

    `size` counts the training documents only; `heldout` documents come after them. `longest` is in tokens.
    `packed` is by context; it is measured too, and may be absent.
    `path` is a user's own file, relative to the project, and None for the shipped builders. `tokenizer` is one of
    specs/tokenizers, and None for the local one.
    """

    corpus: str
    kind: Kind
    unit: Literal["tokens", "items"]
    builder: str
    digest: Digest
    size: Count
    documents: Count
    longest: Count
    heldout: Count
    packed: dict[int, Packed] = Field(default_factory=dict)
    parameters: dict[str, int]
    packages: dict[str, _Package]
    path: str | None = None
    tokenizer: str | None = None

    @property
    def identity(self) -> str:
        """What decides which documents it has and in which order: everything but what is measured."""
        return self.model_dump_json(exclude_none=True, exclude={*MEASURED, "packed"})

    def number(self, name: str) -> int:
        """A builder parameter; which of them a builder needs is checked when the spec is read."""
        return self.parameters[name]

    def package_sources(self) -> tuple[PackageSource, ...]:
        """The packages to read, in the order of their names."""
        return tuple(
            PackageSource(name, package.version, tuple(package.files), tuple(package.leave_out))
            for name, package in sorted(self.packages.items())
        )


class TokenizerSpec(_Model):
    """specs/data/tokenizer.yaml: `vocab` tokens, trained on `characters` of each of the corpora."""

    tokenizer: str
    vocab: Annotated[int, domains.TOKENIZER_VOCABULARY]
    digest: Digest
    corpora: Annotated[list[str], Field(min_length=1)]
    characters: Annotated[int, domains.CHARACTERS]


@dataclass(frozen=True)
class Built:
    """What a preparation came out with: the fields that a spec declares."""

    digest: str
    size: int
    documents: int
    longest: int
    heldout: int


def names(root: Path) -> list[str]:
    """All data specs of a project, the tokenizer first."""
    found = sorted(path.stem for path in (root / FOLDER).glob("*.yaml") if path.stem not in NOT_CORPORA)
    return sorted(found, key=lambda name: name != TOKENIZER)


def load(root: Path, name: str, declared: bool = True) -> CorpusSpec:
    """Read one corpus's spec; without `declared`, what is measured may still be missing and is then zero.

    Raises UserError naming the file, the line, the key, what was found and what is allowed.
    """
    if name in (*NOT_CORPORA, TOKENIZER) or not (root / FOLDER / f"{name}.yaml").is_file():
        raise UserError(f"no corpus {name!r}; there are: {', '.join(names(root)[1:])}")
    raw = load_corpus(Files(root), name, declared)
    return CorpusSpec.model_validate(raw.model_dump())


def load_tokenizer(root: Path) -> TokenizerSpec:
    """Read the tokenizer's spec. Raises UserError as `load` does."""
    files = Files(root)
    document = files.document(files.specs / "data" / f"{TOKENIZER}.yaml")
    raw = validate(document, RawTokenizer)
    return validate(Document(raw.model_dump(), document.places), TokenizerSpec)
