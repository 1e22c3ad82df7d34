"""Where a user's files are, as a data spec may write it: below the project, or below a root that is declared."""

from __future__ import annotations

from pathlib import PurePosixPath

from stages.spec import quantities

GZIPPED = (".jsonl.gz", ".json.gz")  # lines of JSON, as all of .jsonl
ZSTANDARD = (".jsonl.zst", ".jsonl.zstd", ".json.zst", ".json.zstd")
SUFFIXES = (".jsonl", *GZIPPED, *ZSTANDARD, ".parquet", ".arrow", ".txt", ".md")
PICTURE_SUFFIXES = (".tar", ".jsonl")  # of builder pictures
CONVERSIONS = {  # what is often given instead, and how it becomes what is read
    ".json": "Of a JSON array, `jq -c '.[]' IN > OUT.jsonl` makes lines; rename what has an object in each line.",
    ".ndjson": "Rename it to .jsonl.",
    ".csv": "`pyarrow.parquet.write_table(pyarrow.csv.read_csv(IN), OUT)` makes Parquet of it.",
    ".tsv": "Read it by pyarrow.csv with `ParseOptions(delimiter='\\t')`, and write it as Parquet.",
    ".gz": "Unpack it, or read lines of JSON as .jsonl.gz.",
    ".bz2": "Unpack it with `bunzip2`.",
    ".xz": "Unpack it with `unxz`.",
    ".lz4": "Unpack it with `unlz4`.",
    ".tgz": "Unpack it.",
    ".zip": "Unpack it.",
}
PATTERN = "*?["  # what makes a name a pattern
LONGEST = 255  # bytes of a name on Linux's file systems


def paths(value: object) -> object:
    """Paths that stay below the project or the root as they are written; links are followed when files are read."""
    return tuple(map(_one_path, value)) if isinstance(value, list) and value else _one_path(value)


def _one_path(value: object) -> object:
    found, plain = quantities.describe(value), "a path relative to the project or the root, such as data/mine.jsonl"
    if not isinstance(value, str) or not value.strip() or "\\" in value:
        raise quantities.BadQuantity(found, plain, "Write the path with forward slashes.")
    path = _below(PurePosixPath(value), found, plain)
    if any("**" in part and part != "**" for part in path.parts):
        raise quantities.BadQuantity(found, "** between slashes, for folders at any depth", "Write **/*.jsonl.")
    if path.suffix and not value.endswith((*SUFFIXES, *PICTURE_SUFFIXES, "/")) and not set(value) & set(PATTERN):
        allowed = f"a file that ends in {', '.join(SUFFIXES)}, a folder or a pattern"
        repair = f"{conversion(value)} Write a slash behind the name of a folder that has a dot in it."
        raise quantities.BadQuantity(found, allowed, repair)
    return value


def conversion(name: str) -> str:
    """What to do with a file that cannot be read, by its name."""
    if name != name.lower() and name.lower().endswith((*SUFFIXES, *PICTURE_SUFFIXES)):
        return "Rename it, with an ending in small letters."
    return CONVERSIONS.get(PurePosixPath(name).suffix, "Convert it.")


def _below(path: PurePosixPath, found: str, plain: str) -> PurePosixPath:
    if path.is_absolute() or ".." in path.parts or str(path).startswith("~"):
        repair = "Copy the file into the project, or declare its folder in specs/data/roots.yaml and name `root`."
        raise quantities.BadQuantity(found, plain, repair)
    if any(len(part.encode()) > LONGEST for part in path.parts):
        raise quantities.BadQuantity(
            found, f"names of files and folders of {LONGEST} bytes at most", "Correct the path."
        )
    return path


def folder(value: object, allowed: str, repair: str) -> PurePosixPath:
    """A folder that stays inside the project as it is written; links are followed when its files are read."""
    found = quantities.describe(value)
    if not isinstance(value, str) or not value.strip() or "\\" in value:
        raise quantities.BadQuantity(found, allowed, "Write the path with forward slashes.")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or value.startswith("~"):
        raise quantities.BadQuantity(found, allowed, repair)
    return path


def prefixes(value: object) -> object:
    """Prefixes of Megatron datasets, below the project or the root like paths."""
    return tuple(map(_one_prefix, value)) if isinstance(value, list) and value else _one_prefix(value)


def _one_prefix(value: object) -> object:
    found, plain = (
        quantities.describe(value),
        "a prefix relative to the project or the root, such as data/shard_text_document",
    )
    if not isinstance(value, str) or not value.strip() or "\\" in value or value.endswith("/"):
        raise quantities.BadQuantity(found, plain, "Write the path of the two files without .bin and .idx.")
    if _below(PurePosixPath(value), found, plain).suffix in (".bin", ".idx"):
        raise quantities.BadQuantity(found, plain, "Leave out .bin and .idx: both files are read.")
    return value


def root(value: object) -> object:
    """An absolute path of a folder of this machine."""
    if isinstance(value, str) and PurePosixPath(value).is_absolute() and ".." not in PurePosixPath(value).parts:
        return value
    raise quantities.BadQuantity(
        quantities.describe(value), "an absolute path of a folder", "Write it from the first slash on."
    )
