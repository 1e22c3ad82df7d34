"""What a file is by the bytes that it begins with, where its name says that it is text."""

from __future__ import annotations

import re

from stages.errors import UserError

KINDS = {
    "gzip": rb"\x1f\x8b",
    "zstandard": rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18",
    "xz": rb"\xfd7zXZ\0",
    "bzip2": rb"BZh[1-9](1AY&SY|\x17rE8P\x90)",
    "lz4": rb"\x04\x22\x4d\x18",
    "zip": rb"PK(\x03\x04|\x05\x06)",
    "Parquet": rb"PAR1[\x15\x00-\x08]",
    "Arrow": rb"ARROW1\0\0|\xff\xff\xff\xff",
    "UTF-16": rb"\xff\xfe|\xfe\xff",
}
LENGTH = 12  # bytes that tell
REPAIRS = {
    "gzip": "Name it .jsonl.gz, or unpack it with `gunzip`",
    "zstandard": "Name it .jsonl.zst, or unpack it with `unzstd`",
    "Parquet": "Name it .parquet",
    "Arrow": "Name it .arrow",
    "UTF-16": "Write it in UTF-8: `iconv -f UTF-16 -t UTF-8 IN > OUT`",
}
_KNOWN = {kind: re.compile(pattern) for kind, pattern in KINDS.items()}


def refuse_other(name: str, head: bytes, packed: bool) -> None:
    """Raise UserError for a file whose first bytes, once it is unpacked, are of no text.

    It would be thousands of bad rows, which a corpus may leave out. `packed` says whether it was compressed.
    """
    kind = next((kind for kind, pattern in _KNOWN.items() if pattern.match(head)), None)
    if kind is not None:
        what = f"what is in it begins as {kind} does" if packed else f"begins as {kind} does, and its name says text"
        repair = "Unpack it once more" if packed else REPAIRS.get(kind, "Unpack it")
        raise UserError(f"{name}: {what}. {repair}.")
