"""`stages export P/S FOLDER`: a finished stage as a folder that transformers and servers load."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import cast, get_args

from stages.commands.finished import finished
from stages.errors import UsageError
from stages.export import card, lineage, names, tokenizer
from stages.export.tensors import TORCH, Dtype
from stages.printable import printable

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
LICENCE = "LICENSE"


def export(
    ref: str, folder: Path, scale: str, dtype: str | None, shard: str, licence: str | None, terms: Path | None
) -> None:
    """Write the export. `shard`: most bytes of tensors in a file, as text; `terms`: a licence's file to copy."""
    kind, most = _dtype(dtype), _bytes(shard)
    if licence is not None and (not licence.strip() or printable(licence) != licence or "\n" in licence):
        raise UsageError(f"--licence: found {licence!r}; allowed: a licence's name on one line, such as apache-2.0.")
    text = None if terms is None else _terms(terms)
    result, chosen = finished(ref, scale)
    claims = chosen.project.resolve(chosen.stage.pipeline, scale).claims
    from stages.export import folder as writer  # loads torch: what is mistyped was answered by now

    published, tokens = names.published(result), tokenizer.of(result)
    released = lineage.releases(result, lineage.lineage(result))
    if released and licence is not None:
        raise UsageError(
            f"--licence: found {licence!r}; allowed: nothing, since the weights descend from "
            f"{', '.join(one.source for one in released)}, whose licence is {released[0].licence}."
        )
    facts = card.Facts(TORCH[kind], licence, claims, bool(published.code), tokens.template is not None, folder.name)
    others = {"README.md": card.card(result, published, facts).encode()} | ({LICENCE: text} if text else {})
    written = writer.write(result, published, tokens, kind, most, others, folder)
    files = "1 file" if written.shards == 1 else f"{written.shards} files"
    print(f"{ref}: {written.bytes:,} bytes in {folder}; weights in {TORCH[kind]}, {files}")
    print(f"read back: every file is as written; `sha256sum --check {writer.SUMS}` does it again")


def _dtype(found: str | None) -> Dtype:
    """The type of the weights: stated, never chosen for the user."""
    if found not in get_args(Dtype):
        raise UsageError(
            f"--dtype: found {'nothing' if found is None else repr(found)}; allowed: {' or '.join(get_args(Dtype))}. "
            "fp32 is what was trained, bit for bit; bf16 is each weight rounded to the nearest."
        )
    return cast(Dtype, found)


def _bytes(text: str) -> int:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(KB|MB|GB)", text.strip())
    size = int(Fraction(found[1]) * UNITS[found[2]]) if found else 0
    if size < 1:
        raise UsageError(f"--shard-size: found {text!r}; allowed: a number of KB, MB or GB, such as 5GB (10^9 bytes).")
    return size


def _terms(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"--licence-file: {path} cannot be read ({error.strerror})") from None
