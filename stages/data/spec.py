"""The data specs, specs/data/<name>.yaml: what a corpus is made of, and the digest and counts it must come out with."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stages.errors import UsageError
from stages.spec import domains
from stages.spec.builders import OWN
from stages.spec.corpora import tokenizer
from stages.spec.files import Files
from stages.spec.loader_data import NOT_CORPORA, load_corpus
from stages.spec.nodes import Document
from stages.spec.schema.corpora import MEASURED, Kind, Rows
from stages.spec.validate import near, validate
from stages.store.json_file import Strict
from stages.store.shards import Count, Hex64

FOLDER = Path("specs") / "data"
TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class PackageSource:
    """One package of a corpus: distribution name, exact version, and which files (fnmatch patterns of RECORD paths)."""

    name: str
    version: str
    files: tuple[str, ...]
    leave_out: tuple[str, ...]


class _Package(Strict):
    version: str
    files: Annotated[list[str], Field(min_length=1)]
    leave_out: list[str]


class Packed(Strict):
    """What fits into rows of one context: rows that whole documents fill in the corpus's order, and their tokens."""

    rows: Count
    tokens: Count


class Skip(Strict):
    """How many bad rows may be left out."""

    skip: Count


class Extensions(Strict):
    """Which members of a tar are a row's picture and its caption."""

    image: list[str]
    text: str


class Decontaminate(Strict):
    """Evaluation sets, the length of n-grams in words, and what is done with documents that have one of theirs."""

    against: dict[str, Literal["all", "heldout"]]
    words: Count
    found: Literal["remove", "report"]


class CorpusSpec(Strict):
    """One data spec. `unit`: what `size`, and the offsets of a phase's sources, count (tokens, or items for pairs).

    `size` counts the training documents only; `heldout` documents come after them. `longest` is in tokens.
    `packed` is by context; it is measured too, and may be absent.
    What follows is of a user's own files, and None for the shipped builders: `path` (one or several, with patterns and
    folders) is relative to the project or to `root`; `rows` is the shape of rows, `columns` names what has them;
    `on_bad_row` says how many bad rows may be left out; the first one that may not be ends a preparation.
    `duplicates` says whether documents that say the same are kept, which is the default; `answers` whether
    those of a conversation are one document (the default) or one each.
    `tokenizer` is one of specs/tokenizers, and None for the local one.
    `extensions` says the same of the members of a tar; `pixels` whether pictures keep their colours.
    `prefix` names datasets of Megatron's, which are adopted and not copied.
    `unknown` is the most of its tokens that may be what the tokenizer has no token for (`unknown.MOST` where nothing is
    said).
    Documents that one of `without` has are left out; `decontaminate` says the same of evaluations' text.
    """

    corpus: str
    kind: Kind
    unit: Literal["tokens", "items"]
    builder: str
    digest: Hex64
    size: Count
    documents: Count
    longest: Count
    heldout: Count
    packed: dict[int, Packed] = Field(default_factory=dict)
    parameters: dict[str, int]
    packages: dict[str, _Package]
    path: str | tuple[str, ...] | None = None
    tokenizer: str | None = None
    root: str | None = None
    rows: Rows | None = None
    columns: dict[str, str] | None = None
    extensions: Extensions | None = None
    on_bad_row: Skip | None = None
    duplicates: Literal["keep", "drop"] | None = None
    answers: Literal["together", "separate"] | None = None
    pixels: Literal["grey", "rgb"] | None = None
    prefix: str | tuple[str, ...] | None = None
    without: list[str] | None = None
    decontaminate: Decontaminate | None = None
    unknown: Annotated[Fraction, Field(strict=False)] | None = None  # a dump of it is text

    @property
    def paths(self) -> tuple[str, ...]:
        """What `path` names, in order."""
        return (self.path,) if isinstance(self.path, str) else self.path or ()

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What `prefix` names, in order."""
        return (self.prefix,) if isinstance(self.prefix, str) else self.prefix or ()

    @property
    def own(self) -> bool:
        """Whether it is made of a user's own files, which may change under their names."""
        return self.builder in OWN

    @property
    def bad_rows(self) -> int:
        """How many rows may be bad."""
        return self.on_bad_row.skip if self.on_bad_row else 0

    @property
    def bands(self) -> int:
        """Bytes of a pixel as it is kept."""
        return 3 if self.pixels == "rgb" else 1

    @property
    def identity(self) -> str:
        """What decides which documents it has and in which order: everything but what is measured."""
        return self.model_dump_json(exclude_none=True, exclude={*MEASURED, "packed", "unknown"})

    def number(self, name: str) -> int:
        """A builder parameter; which of them a builder needs is checked when the spec is read."""
        return self.parameters[name]

    def package_sources(self) -> tuple[PackageSource, ...]:
        """The packages to read, in the order of their names."""
        return tuple(
            PackageSource(name, package.version, tuple(package.files), tuple(package.leave_out))
            for name, package in sorted(self.packages.items())
        )


class TokenizerSpec(Strict):
    """specs/data/tokenizer.yaml: `vocab` tokens, trained on `characters` of each of the corpora."""

    tokenizer: str
    vocab: Annotated[int, domains.TOKENIZER_VOCABULARY]
    digest: Hex64
    corpora: Annotated[list[str], Field(min_length=1)]
    characters: Annotated[int, domains.CHARACTERS]


def names(root: Path) -> list[str]:
    """All data specs of a project, the local tokenizer first where there is one."""
    found = sorted(path.stem for path in (root / FOLDER).glob("*.yaml") if path.stem not in NOT_CORPORA)
    return [TOKENIZER, *found] if (root / FOLDER / f"{TOKENIZER}.yaml").is_file() else found


def load(root: Path, name: str, declared: bool = True) -> CorpusSpec:
    """Read one corpus's spec; without `declared`, what is measured may still be missing and is then zero.

    Raises UserError naming the file, the line, the key, what was found and what is allowed.
    """
    if name in NOT_CORPORA or not (root / FOLDER / f"{name}.yaml").is_file():
        known = sorted(names(root), key=lambda one: one == TOKENIZER)  # which the command takes too, last
        hint = near(Path(name).stem, known)  # of the path of its spec, or of its file, too
        raise UsageError(f"no corpus {name!r}; there are: {', '.join(known) or 'none'}. {hint}".rstrip())
    raw = load_corpus(Files(root), name, declared)
    return CorpusSpec.model_validate(raw.model_dump())


def load_tokenizer(root: Path, declared: bool = True) -> TokenizerSpec:
    """Read the tokenizer's spec; without `declared`, its digest may be missing. Raises UserError as `load` does."""
    files = Files(root)
    document = files.entry("data", TOKENIZER)
    raw = tokenizer(document, declared)
    return validate(Document(raw.model_dump(), document.places), TokenizerSpec)


def preparing(folder: Path) -> str:
    """The command that prepares a folder of results/<scale>/data, for errors about it."""
    return f"stages data {folder.name} --scale {folder.absolute().parent.parent.name}"
