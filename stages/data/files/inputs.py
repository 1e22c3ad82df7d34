"""The files that a data spec names: single ones, patterns and folders, below the project or a declared root.

Nothing outside is read: links are followed first, and what they lead to has to lie below the same folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stages.data import mapped
from stages.data.files import entry_files
from stages.data.files.pieces import Input, suffix
from stages.data.mapped import FileState
from stages.data.spec import FOLDER, CorpusSpec
from stages.errors import UserError
from stages.spec.files import Files
from stages.spec.loader_data import load_roots
from stages.spec.schema.corpora import MASKED
from stages.spec.schema.paths import GZIPPED, PICTURE_SUFFIXES, SUFFIXES, ZSTANDARD, conversion
from stages.store import lfs
from stages.store.contained import contained

MARKED = (*GZIPPED, *ZSTANDARD, ".parquet", ".arrow", ".tar")  # kinds that begin with something in any case


def find(root: Path, corpus: CorpusSpec) -> list[Input]:
    """The files in the order that the spec states, those of a pattern or a folder sorted by name.

    Raises UserError where one is missing, outside, twice there, not a regular file, or of no use for the corpus.
    """
    folder = base(root, corpus.corpus, corpus.root)
    found: dict[tuple[int, int], Input] = {}
    for name, where in _places(root, corpus.corpus, "path", corpus.paths):
        for path in entry_files.files(folder, name, where, _kinds(corpus)):
            real = _inside(folder, path, where)
            shown = path.relative_to(folder).as_posix()
            stat = real.stat()
            if (before := found.get(number := (stat.st_dev, stat.st_ino))) is not None:  # by whatever links
                raise UserError(f"{where}: {shown} is {before.name}, which is read already; name each file once.")
            found[number] = Input(shown, real, stat.st_size)
    for one in found.values():
        _refuse_kind(one, corpus)
        with suppress(OSError):  # of a file that cannot be read, whoever reads it
            lfs.refuse(one.path, one.name, one.size)
    return list(found.values())


def datasets(root: Path, corpus: CorpusSpec) -> list[tuple[str, Input, Input]]:
    """Megatron datasets in the order that the spec states: prefix, `.bin`, `.idx`. Raises UserError as `find` does."""
    folder = base(root, corpus.corpus, corpus.root)
    found: dict[tuple[int, int], tuple[str, Input, Input]] = {}
    for name, where in _places(root, corpus.corpus, "prefix", corpus.prefixes):
        for path in entry_files.files(folder, f"{name}.idx", where, (".idx",)):
            index, data = (_inside(folder, path.with_suffix(kind), where) for kind in (".idx", ".bin"))
            prefix = path.relative_to(folder).with_suffix("").as_posix()
            stat = data.stat()
            if (number := (stat.st_dev, stat.st_ino)) in found:
                raise UserError(f"{where}: {prefix} is {found[number][0]}, which is read already; name each once.")
            pair = ((".bin", data), (".idx", index))
            bin_, idx = (Input(f"{prefix}{kind}", one, one.stat().st_size) for kind, one in pair)
            _refuse_name(bin_)
            for one in (bin_, idx):
                with suppress(OSError):
                    lfs.refuse(one.path, one.name, one.size)
            found[number] = (prefix, bin_, idx)
    return list(found.values())


def below(root: Path, corpus: str, declared: str | None, name: str) -> Path:
    """A file that a prepared corpus refers to, links followed. `declared` as of `base`; raises as `find` does."""
    folder = base(root, corpus, declared)
    return _inside(folder, folder / name, f"{FOLDER / corpus}.yaml: prefix")


def states(found: Sequence[Input]) -> list[FileState]:
    """The state of each file, in order. Raises OSError."""
    return [mapped.of(one.path) for one in found]


def refuse_changed(found: Sequence[Input], before: Sequence[FileState]) -> None:
    """Raise UserError for a file that was written to while it was read: its digest would be one that it never had.

    Also for one that grew before `states` saw it: finding many files takes a while.
    """
    for one, then in zip(found, before, strict=True):
        if not one.path.is_file() or mapped.of(one.path) != then or then.size != one.size:
            raise UserError(f"{one.name}: changed while it was read. Give the same command when it is complete.")


def refuse_copies(corpus: CorpusSpec, measured: Mapping[str, str]) -> None:
    """Raise UserError where two files of rows have the same content, by their size and digest: a copy that was left.

    A text or a page may well be there twice: each is a document, or a few.
    """
    first: dict[str, str] = {}
    for name, content in measured.items():
        if suffix(name, _kinds(corpus)) in entry_files.FREE or corpus.duplicates == "drop":
            continue
        if (other := first.setdefault(content, name)) != name:
            raise UserError(
                f"{name}: its content is that of {other}, so that each row would be read twice. Remove one of the two; "
                "`duplicates: drop` reads each document once."
            )


def base(root: Path, corpus: str, name: str | None) -> Path:
    """The folder that the paths of a corpus are relative to: the project or the declared root `name`.

    Raises UserError where it is not there.
    """
    if name is None:
        return root
    roots = load_roots(Files(root))
    ((_, where),) = _places(root, corpus, "root", [name])
    if name not in roots:
        known = ", ".join(sorted(roots)) or "none"
        raise UserError(f"{where}: no such root; specs/data/roots.yaml declares: {known}. Add it there.")
    folder = Path(roots[name])
    if not folder.is_dir():
        raise UserError(f"{where}: {folder}, as specs/data/roots.yaml has it, is not a folder of this machine.")
    return folder


def _places(root: Path, corpus: str, key: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each of the names that a corpus's spec has for a key, with file, line and key for messages."""
    files = Files(root)
    document = files.entry("data", corpus)
    for number, name in enumerate(names):
        yield name, f"{document.where((key, number))}: {key}: {name}"


def _kinds(corpus: CorpusSpec) -> tuple[str, ...]:
    """The suffixes of the files that its builder reads."""
    return PICTURE_SUFFIXES if corpus.builder == "pictures" else SUFFIXES


def _inside(base: Path, path: Path, where: str) -> Path:
    """The file itself, links followed."""
    shown = path.relative_to(base).as_posix()
    repair = "Name files or folders below it; copy what lies elsewhere, or declare a root for it."
    real = contained(path, [base], f"{where}: {shown}", repair)
    if real is None:
        raise UserError(f"{where}: there is no such file in {base} ({shown}). Put it there, or correct the path.")
    return real


def _refuse_name(one: Input) -> None:
    if not one.name.isascii() and any("\ud800" <= character <= "\udfff" for character in one.name):
        raise UserError(f"{one.name}: a name that is not UTF-8, which no manifest can contain. Rename the file.")
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in one.name):
        raise UserError(f"{one.name!r}: a name with a control character, as a line break. Rename the file.")


def _refuse_kind(one: Input, corpus: CorpusSpec) -> None:
    _refuse_name(one)
    if not suffix(one.name, _kinds(corpus)):
        raise UserError(f"{one.name}: of no known kind; allowed: {', '.join(_kinds(corpus))}. {conversion(one.name)}")
    if not one.size and one.name.endswith(MARKED):
        raise UserError(f"{one.name}: empty, and no file of its kind is. Copy it again.")
    if one.suffix in (".txt", ".md") and corpus.kind in MASKED:
        raise UserError(
            f"{one.name}: plain text has no answers to supervise; allowed for {corpus.kind}: rows, as in .jsonl"
        )
