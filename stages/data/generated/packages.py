"""Source files of installed pure-Python packages, verified against the hashes that their wheels declared.

The miniature corpora are made from packages that are pinned runtime dependencies, so that everybody has the same
bytes without downloading anything. A wheel's RECORD lists the sha256 of every file (PyPA, "Recording installed
projects"); a file that was edited after installation would change the corpus, and is refused here by name.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

from stages.data.spec import PackageSource
from stages.errors import UserError


@dataclass(frozen=True)
class SourceFile:
    """A verified file: `identity` is "distribution/path" with forward slashes, the same on every machine."""

    identity: str
    text: str


def read_packages(sources: Sequence[PackageSource]) -> list[SourceFile]:
    """All wanted files of all packages, sorted by identity.

    Raises UserError when a package is missing, has another version, lacks a hash, or has a changed file.
    """
    files = [file for source in sources for file in _read_package(source)]
    return sorted(files, key=lambda file: file.identity)


def verified_bytes(name: str, version: str, path: str) -> bytes:
    """One file of a distribution, by its path in RECORD, verified. Raises UserError as `read_packages` does."""
    source = PackageSource(name, version, (path,), ())
    found = _matching(source, _distribution(source))
    if not found:
        raise UserError(f"{name} {version} has no file {path}: {_repair(source)}")
    return _verified(source, found[0])


def _read_package(source: PackageSource) -> list[SourceFile]:
    distribution = _distribution(source)
    found = _matching(source, distribution)
    if not found:
        raise UserError(f"{source.name} {source.version} has no file that matches {', '.join(source.files)}")
    out = []
    for item in found:
        data = _verified(source, item)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            continue  # a handful of modules declare another encoding; the corpora are UTF-8
        out.append(SourceFile(f"{source.name}/{item.as_posix()}", text.replace("\r\n", "\n")))
    return out


def _distribution(source: PackageSource) -> metadata.Distribution:
    try:
        distribution = metadata.distribution(source.name)
    except metadata.PackageNotFoundError:
        raise UserError(f"package {source.name} is not installed: {_repair(source)}") from None
    if distribution.version != source.version:
        raise UserError(
            f"package {source.name}: found version {distribution.version}, the corpus is made from {source.version}: "
            f"{_repair(source)}"
        )
    return distribution


def _matching(source: PackageSource, distribution: metadata.Distribution) -> list[metadata.PackagePath]:
    def wanted(path: str) -> bool:
        return any(fnmatch(path, p) for p in source.files) and not any(fnmatch(path, p) for p in source.leave_out)

    listed = distribution.files
    if not listed:
        raise UserError(f"package {source.name} was installed without a RECORD: {_repair(source)}")
    return sorted((item for item in listed if wanted(item.as_posix())), key=lambda item: item.as_posix())


def _verified(source: PackageSource, item: metadata.PackagePath) -> bytes:
    path = Path(str(item.locate()))
    if item.hash is None or item.hash.mode != "sha256":
        raise UserError(f"{path}: no sha256 in the RECORD of {source.name}: {_repair(source)}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}, though {source.name}'s RECORD lists it: {_repair(source)}"
        ) from None
    found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    if found != item.hash.value:
        raise UserError(
            f"{path}: changed since {source.name} {source.version} was installed "
            f"(sha256 {found}, RECORD says {item.hash.value}): {_repair(source)}"
        )
    return data


def _repair(source: PackageSource) -> str:
    return f"run `pip install --force-reinstall --no-deps {source.name}=={source.version}`"
