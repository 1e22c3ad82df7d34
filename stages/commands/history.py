"""`stages history P/S`: every result of a stage that is still there, and how to compare two of them."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from stages.commands.chosen import choose
from stages.errors import UsageError, UserError, in_words
from stages.printable import print_json, printable
from stages.store import manifest, superseded
from stages.store.layout import Layout

SHOWN = 12  # hex digits of a key that are shown
SHORTEST = 6  # and that may be typed
WIDTH = 100  # columns, without a terminal
IN_PLACE, ASIDE = "in place", "earlier"
COLUMNS = ("key", "", "finished", "steps", "train loss", "validation loss", "time")


@dataclass(frozen=True)
class Found:
    """A result of a stage: `state` is whether it is the one in place."""

    key: str
    state: str
    finished: float
    folder: Path


def results(layout: Layout, ref: str) -> tuple[list[Found], list[str]]:
    """The result in place and the earlier ones, the latest first, and what cannot be read of them, and why.

    One in place whose manifest cannot be read has no key.
    """
    aside, unreadable = superseded.of_stage(layout, ref)
    place = layout.stage(ref)
    found = [(place, IN_PLACE)] if os.path.lexists(place) else []
    found += [(folder, ASIDE) for folder in aside]
    return [
        Found(_key(folder, unreadable), state, superseded.finished(folder), folder) for folder, state in found
    ], unreadable


def of_key(layout: Layout, ref: str, word: str) -> list[Found]:
    """The results of a stage whose keys begin with `word`, the latest first."""
    return [one for one in results(layout, ref)[0] if one.key and one.key.startswith(word)]


def print_history(named: str, scale: str, as_json: bool) -> int:
    """Print them as a table. A file that cannot be read costs a line, and makes the exit code 1.

    Raises UsageError for an unknown stage, UserError where the stage never finished.
    """
    chosen = choose(named, scale)
    ref, layout, root = chosen.ref, chosen.layout, chosen.root
    found, unreadable = results(layout, ref)
    if not found:
        _tell(unreadable)
        raise UserError(f"{ref}: no result at scale {scale}, now or earlier; `stages status {ref}` says what is there.")
    if as_json:
        print_json([{**asdict(one), "folder": one.folder.relative_to(root).as_posix()} for one in found])
    else:
        _print(root, ref, scale, found, unreadable)
    _tell(unreadable)
    return 1 if unreadable else 0


def _tell(unreadable: list[str]) -> None:
    for why in dict.fromkeys(unreadable):
        print(f"stages: {why}", file=sys.stderr)


def _print(root: Path, ref: str, scale: str, found: list[Found], unreadable: list[str]) -> None:
    from stages import terminal

    table = terminal.table(f"{ref} at {scale}")
    for name in COLUMNS:
        table.add_column(name, overflow="fold", justify="right" if name in ("steps", "time") else "left")
    for one in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.finished)) if one.finished else "-"
        table.add_row(one.key[:SHOWN], one.state, when, *_figures(one.folder, unreadable))
    console = terminal.console_of(WIDTH)
    console.print(table)
    if len(found) > 1:
        latest, before = found[0], next((one for one in found[1:] if one.key != found[0].key), found[1])
        words = [f"{ref}@{one.key[:SHOWN]}" if one.state == ASIDE else ref for one in (before, latest)]
        console.print(f"`stages compare {' '.join(words)} --scale {scale}` says what differs", soft_wrap=True)
    where = sorted({one.folder.relative_to(root).as_posix() for one in found})
    console.print(printable("in " + ", ".join(where)), soft_wrap=True, markup=False)


def _figures(folder: Path, unreadable: list[str]) -> tuple[str, ...]:
    """Steps, losses and seconds of a result; dashes where nothing was trained, words where it cannot be read."""
    from stages.report import metrics, table

    try:
        _, _, steps, _, loss, validation, _, spent, *_ = table.row(metrics.read(folder)).cells
    except (UserError, OSError) as error:
        unreadable.append(in_words(error))
        return ("cannot be read", "", "", "")
    return (steps, loss, validation, spent)


def _key(folder: Path, unreadable: list[str]) -> str:
    try:
        return manifest.read(folder / manifest.NAME).key
    except (UserError, OSError) as error:
        unreadable.append(in_words(error))
        return ""


def one_of(layout: Layout, ref: str, word: str) -> Path | None:
    """The result that a key's first digits name, or None. Raises UsageError where they name several."""
    if len(word) < SHORTEST or set(word) - set("0123456789abcdef"):
        return None
    found = of_key(layout, ref, word)
    if len({one.key for one in found}) > 1:
        raise UsageError(f"{ref}@{word}: several results begin so; write more digits (`stages history {ref}`).")
    return found[0].folder if found else None
