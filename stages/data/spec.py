"""The data specs, specs/data/<name>.yaml: what a corpus is made of, and the digest and counts it must come out with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from stages.data.packages import PackageSource
from stages.errors import UserError

FOLDER = Path("specs") / "data"
TOKENIZER = "tokenizer"
NOT_CORPORA = ("mixtures", "published")

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Kind = Literal["text", "sft", "multimodal", "pairs", "tokenizer"]


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
    parameters: dict[str, int | list[str]]
    packages: dict[str, _Package]
    sources: list[object]

    def number(self, name: str) -> int:
        """A builder parameter that is a number. Raises UserError if the spec lacks it."""
        value = self.parameters.get(name)
        if not isinstance(value, int):
            raise UserError(f"{FOLDER / self.corpus}.yaml: parameters.{name}: found {value!r}; allowed: a whole number")
        return value

    def words(self, name: str) -> list[str]:
        """A builder parameter that is a list of names. Raises UserError if the spec lacks it."""
        value = self.parameters.get(name)
        if not isinstance(value, list):
            raise UserError(f"{FOLDER / self.corpus}.yaml: parameters.{name}: found {value!r}; allowed: a list of names")
        return value

    def package_sources(self) -> tuple[PackageSource, ...]:
        """The packages to read, in the order of their names."""
        return tuple(
            PackageSource(name, package.version, tuple(package.files), tuple(package.leave_out))
            for name, package in sorted(self.packages.items())
        )


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
    """Read one data spec. Raises UserError naming the file, the key, what was found and what is allowed."""
    path = root / FOLDER / f"{name}.yaml"
    if name in NOT_CORPORA or not path.is_file():
        raise UserError(f"no corpus {name!r}; there are: {', '.join(names(root))}")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        spec = CorpusSpec.model_validate(raw)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path}: {key}: {first['msg']} (found {first['input']!r})") from None
    if spec.corpus != name:
        raise UserError(f"{path}: corpus: found {spec.corpus!r}; allowed: {name!r}, the file's name")
    return spec
