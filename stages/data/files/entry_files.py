"""The files that one entry of a data spec names: a file, a pattern, a folder, a folder of datasets' `save_to_disk`.

What would be read next to what is meant, or left out silently, is an error: several splits, what datasets cached
next to a data set, parts that are missing or there twice, files that are not complete.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from stages.data.files import entry_links
from stages.data.files.pieces import suffix
from stages.errors import UserError
from stages.spec.schema.paths import PATTERN, conversion
from stages.store import json_file

# What datasets writes next to its Arrow files: save_to_disk the first and the last, which is of several splits.
SAVED, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"
CACHED = "cache-"  # how the names begin of what datasets makes of the data, next to them
# What comes behind the suffix of a file that is compressed in a way that is not read, or that is still being written.
UNREAD = (
    *(".gz", ".zst", ".bz2", ".xz", ".lz4", ".zip", ".br", ".snappy", ".7z"),
    *(".part", ".partial", ".incomplete", ".crdownload", ".download", ".aria2", ".tmp"),
)
FREE = {".txt", ".md"}  # kinds whose names may be anything
# train-00000-of-00008.parquet; until 2023 datasets wrote a fingerprint of each file behind its number.
NUMBERED = re.compile(r"(.*?)[-_.](\d{3,6})-of-(\d{3,6})(?:-[0-9a-f]{16})?\b(.*)")
# c4-train.0
SPLIT = re.compile(r"(?:^|[-_.])(train(?:ing)?|test|validation|valid|val|dev|eval)(?=[-_.]|$)", re.IGNORECASE)


def files(base: Path, name: str, where: str, kinds: tuple[str, ...]) -> list[Path]:
    """The files of the entry `name` below `base`, of one of `kinds`; hidden ones of patterns and folders are left out.

    `where` begins messages. Raises UserError where there are none, or others than those that are meant.
    """
    path = base / name
    if "://" in name:
        raise UserError(
            f"{where}: an address, and nothing is downloaded. Fetch it first, as with `hf download` or `curl`, and "
            "name what came."
        )
    if any(sign in name for sign in PATTERN):
        return _pattern(base, name, where, kinds)
    if not path.is_dir():
        return [path]
    return _saved(path, where) if (path / SAVED).is_file() else _folder(path, where, kinds)


def _pattern(base: Path, name: str, where: str, kinds: tuple[str, ...]) -> list[Path]:
    hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)  # and meant
    every = sorted(path for path in base.glob(name) if hidden or not entry_links.hidden(path.relative_to(base)))
    found = [path for path in every if not path.is_dir()]  # a link that leads nowhere is an error
    if (base / name).is_file() and base / name not in found:
        raise UserError(
            f"{where}: a pattern, which does not find the file of that very name. Rename the file, without any of "
            f"{' '.join(PATTERN)}."
        )
    if folders := [path for path in every if path.is_dir() and suffix(path.name, kinds)]:
        shown = folders[0].relative_to(base).as_posix()
        raise UserError(
            f"{where}: {shown} is a folder, as Spark writes them; a pattern finds files. Name the folder, or the files "
            f"in it: {shown}/*{suffix(shown, kinds)}."
        )
    if not found:
        raise UserError(f"{where}: no file below {base} is called so. Correct the pattern.")
    entry_links.refuse_passed_over(base, name, found, where)
    _refuse_splits(base, [path for path in found if suffix(path.name, kinds) not in FREE], where)
    _refuse_other_numbers(base, found, where)
    _refuse_made_of_it(base, found, where)
    return found


def _refuse_made_of_it(base: Path, found: Sequence[Path], where: str) -> None:
    """Raise UserError for a file that datasets' `map`, `filter` or `shuffle` left next to the data that it made it of:
    its rows are those of the data once more.
    """
    folders = {path.parent for path in found if path.suffix == ".arrow"}
    saved = {folder: {one.name for one in _saved(folder, where)} for folder in folders if (folder / SAVED).is_file()}
    for path in found:
        folder = path.parent
        cached = path.name.startswith(CACHED) and (folder / INFO).is_file()
        if path.suffix == ".arrow" and (path.name not in saved[folder] if folder in saved else cached):
            shown = path.relative_to(base).as_posix()
            repair = "Name the folder" if folder in saved else "Name the others by a narrower pattern"
            raise UserError(
                f"{where}: {shown} is what datasets made of the data next to it (`map`, `filter`), or of an earlier "
                f"version. {repair}; to read what was made, save it with `save_to_disk` in a folder of its own."
            )


def _folder(folder: Path, where: str, known: tuple[str, ...]) -> list[Path]:
    """All files of a folder, which have to be of one kind: what a README next to them is for is not known."""
    if (folder / SPLITS).is_file():
        splits = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir()))
        raise UserError(f"{where}: a datasets folder of several splits; name the folder of one: {splits}.")
    every = sorted(_visible(folder, where))
    found = [path for path in every if suffix(path.name, known)]
    kinds = Counter(suffix(path.name, known) for path in found)
    _refuse_unread(folder, [path for path in every if not suffix(path.name, known)], where, known)
    if not found:
        there = f" There is {every[0].relative_to(folder).as_posix()}. {conversion(every[0].name)}" if every else ""
        raise UserError(f"{where}: no file in it ends in {', '.join(known)}.{there}")
    if len(kinds) > 1:
        listed = ", ".join(f"{count} of {kind}" for kind, count in sorted(kinds.items()))
        most = f"{folder.name}/**/*{kinds.most_common(1)[0][0]}"
        raise UserError(f"{where}: files of several kinds ({listed}); name one kind by a pattern, such as {most}.")
    if ".arrow" in kinds:
        _refuse_datasets(folder, every, where)
    if not kinds.keys() & FREE:
        _refuse_splits(folder, found, where)
    _refuse_other_numbers(folder, found, where)
    _refuse_gaps(folder, found, where)
    return found


def _visible(folder: Path, where: str) -> Iterator[Path]:
    """The files of a folder. Raises UserError for a folder in it that cannot be read, or is a link."""

    def failed(error: OSError) -> None:
        raise UserError(f"{where}: {error.filename}: {error.strerror}. Nothing of a folder is left out without a word.")

    for parent, folders, names in os.walk(folder, onerror=failed):
        folders[:] = sorted(one for one in folders if not one.startswith((".", "_")))
        if links := [one for one in folders if Path(parent, one).is_symlink()]:
            shown = Path(parent, links[0]).relative_to(folder).as_posix()
            raise UserError(
                f"{where}: {shown} in it is a link to a folder, and such links are not followed. Name what it leads to "
                "in the list of paths, or remove it."
            )
        yield from (Path(parent, name) for name in names if not name.startswith((".", "_")))


def _refuse_unread(folder: Path, others: Sequence[Path], where: str, known: tuple[str, ...]) -> None:
    """Raise UserError for data that would be left out: compressed otherwise, not complete, or with a suffix in
    capitals.
    """
    for path in others:
        name = path.name.lower()
        plain = next((name.removesuffix(one) for one in UNREAD if name.endswith(one)), name)
        if suffix(plain, known):
            raise UserError(
                f"{where}: {path.relative_to(folder).as_posix()} is not read, since its name ends otherwise than in "
                f"{', '.join(known)}. Convert, complete or rename it; or name the others by a pattern."
            )


def _refuse_datasets(folder: Path, every: Sequence[Path], where: str) -> None:
    """Raise UserError for a folder in which datasets keeps more than the rows that are meant."""
    for path in every:
        inside = path.relative_to(folder).as_posix()
        if path.name in (SAVED, SPLITS):
            raise UserError(
                f"{where}: {inside} in it is of a folder that datasets saved. Name that folder, or a list of them."
            )
        if path.name == INFO:
            raise UserError(
                f"{where}: {inside} in it is of datasets' cache, or of a saved folder without its {SAVED}: it may have "
                "several splits, and what was made of the data. Name the files by a pattern, or save the split with "
                "`save_to_disk` and name that folder."
            )


def _refuse_splits(folder: Path, found: Sequence[Path], where: str) -> None:
    """Raise UserError for files of several splits, by their names: what is held out by its maker is not trained on."""
    named = {one.lower(): path for path in found if (one := _split(path.relative_to(folder)))}
    if len(named) > 1:
        listed = ", ".join(sorted(named))
        first = min(named.values()).relative_to(folder)
        raise UserError(
            f"{where}: files of several splits ({listed}), such as {first.as_posix()}; name those of one by a pattern. "
            "If all of them are meant, list a pattern for each."
        )


def _split(path: Path) -> str | None:
    found = (SPLIT.search(part) for part in reversed(path.parts))
    return next((one.group(1) for one in found if one is not None), None)


def _refuse_gaps(folder: Path, found: Sequence[Path], where: str) -> None:
    """Raise UserError where files say how many they are, and some are missing."""
    for (stem, of, end), files in sorted(_numbered(folder, found).items()):
        numbers = files.keys()
        first = 1 if int(of) in numbers else 0
        if missing := sorted(set(range(first, int(of) + first)) - numbers):
            name = f"{stem}-{missing[0]:0{len(of)}d}-of-{of}{end}"
            raise UserError(
                f"{where}: {len(numbers)} of {int(of)} files are there; {name} is missing. Complete the folder, or "
                "name those that are there by a pattern."
            )


def _refuse_other_numbers(folder: Path, found: Sequence[Path], where: str) -> None:
    """Raise UserError where parts of one name are numbered in two ways, or one part is there twice: those of an earlier
    version of the data were left, and rows would be read twice.
    """
    first: dict[tuple[str, str], Path] = {}
    for (stem, _, end), files in sorted(_numbered(folder, found).items()):
        every = sorted(path for some in files.values() for path in some)
        twice = next((sorted(some) for some in files.values() if len(some) > 1), None)
        other = first.setdefault((stem, end), every[0])
        pair = twice[:2] if twice else [other, every[0]] if other != every[0] else []
        if pair:
            names = " and ".join(path.relative_to(folder).as_posix() for path in pair)
            raise UserError(
                f"{where}: {names} are of two sets of parts of one name; remove the one that is of another version. "
                "If both are meant, list a pattern for each."
            )


def _numbered(folder: Path, found: Sequence[Path]) -> dict[tuple[str, str, str], dict[int, list[Path]]]:
    """Files that say how many they are: what is before that, how many, and what is behind -> number -> files."""
    parts: dict[tuple[str, str, str], dict[int, list[Path]]] = {}
    for path in found:
        if (one := NUMBERED.fullmatch(path.relative_to(folder).as_posix())) is not None:
            parts.setdefault((one[1], one[3], one[4]), {}).setdefault(int(one[2]), []).append(path)
    return parts


def _saved(folder: Path, where: str) -> list[Path]:
    """A folder as datasets' save_to_disk writes it: the files that it lists, and not what was cached next to them."""
    try:
        state = json_file.read(folder / SAVED)
        names = [one["filename"] for one in state["_data_files"]]
        indices = state.get("_indices_data_files")
    except (json_file.JsonFileError, AttributeError, KeyError, TypeError):
        raise UserError(f"{where}: {SAVED} in it does not list the data files, as datasets writes it.") from None
    if not names or any(not isinstance(name, str) or len(PurePosixPath(name).parts) != 1 for name in names):
        raise UserError(f"{where}: {SAVED} in it names no file of the folder ({str(names)[:200]}).")
    if indices:
        raise UserError(
            f"{where}: {SAVED} in it chooses rows by their numbers (_indices_data_files), which are not read. Load it "
            "with datasets, and save it again after `flatten_indices()`."
        )
    return [folder / name for name in names]
