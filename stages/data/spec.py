"""The data specs, specs/data/<name>.yaml: what a corpus is made of, and the digest and counts it must come out with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from stages.data.packages import PackageSource
from stages.errors import UserError

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


class CorpusSpec(_Model):
    """One data spec. `unit`: what `size`, and the offsets of a phase's sources, count (tokens, or items for pairs).

    `size` counts the training documents only; `heldout` documents come after them. `longest` is in tokens.
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
    parameters: dict[str, int]
    packages: dict[str, _Package]

    def number(self, name: str) -> int:
        """A builder parameter that is a number. Raises UserError if the spec lacks it."""
        value = self.parameters.get(name)
        if value is None:
            raise UserError(f"{FOLDER / self.corpus}.yaml: parameters.{name}: missing; builder {self.builder} needs it")
        return value

    def package_sources(self) -> tuple[PackageSource, ...]:
        """The packages to read, in the order of their names."""
        return tuple(
            PackageSource(name, package.version, tuple(package.files), tuple(package.leave_out))
            for name, package in sorted(self.packages.items())
        )


class TokenizerSpec(_Model):
    """specs/data/tokenizer.yaml: `vocab` tokens, trained on `characters` of each of the corpora."""

    tokenizer: str
    vocab: Annotated[int, Field(ge=264, le=65_536)]  # 256 bytes and 8 special tokens; ids fit 16 bits
    digest: Digest
    corpora: Annotated[list[str], Field(min_length=1)]
    characters: Annotated[int, Field(ge=1)]


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


def load(root: Path, name: str) -> CorpusSpec:
    """Read one corpus's spec. Raises UserError naming the file, the key, what was found and what is allowed."""
    if name in (*NOT_CORPORA, TOKENIZER) or not (root / FOLDER / f"{name}.yaml").is_file():
        raise UserError(f"no corpus {name!r}; there are: {', '.join(names(root)[1:])}")
    spec = _read(root / FOLDER / f"{name}.yaml", CorpusSpec)
    if spec.corpus != name:
        raise UserError(f"{FOLDER / name}.yaml: corpus: found {spec.corpus!r}; allowed: {name!r}, the file's name")
    return spec


def load_tokenizer(root: Path) -> TokenizerSpec:
    """Read the tokenizer's spec. Raises UserError as `load` does."""
    return _read(root / FOLDER / f"{TOKENIZER}.yaml", TokenizerSpec)


M = TypeVar("M", CorpusSpec, TokenizerSpec)


def _read(path: Path, model: type[M]) -> M:
    try:
        return model.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path}: {key}: {first['msg']} (found {first['input']!r})") from None
