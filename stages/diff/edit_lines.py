"""What was edited, as lines: files, scalars, waivers and marks, equal edits of several files together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stages.diff.effects import ARROW, brief
from stages.diff.fields import reordered
from stages.diff.origins import KeptSource, MarkChange, WaiverChange
from stages.diff.scalar_edits import SEPARATOR, UNORDERED, Edit
from stages.diff.semantic import Difference
from stages.spec.quantities import is_number

# How many lines each section may have; the rest is counted.
COMPUTED, RUN, ELSEWHERE, WAIVERS, MARKS, KEPT = 9, 2, 2, 4, 3, 3
VALUE = 44  # columns of a value
MANY = 3  # values added below one key are shown together


def lines(found: Difference, share: float) -> list[str]:
    """Every section that has something to say, with its title and a share of the lines that it may have."""
    by_meaning = {
        meaning: [one for one in found.edits if one.meaning == meaning] for meaning in ("computed", "run", "elsewhere")
    }
    sections = (
        ("edited", [*scalars(by_meaning["computed"])], COMPUTED),
        ("edited, how it is run and not what is computed", [*scalars(by_meaning["run"])], RUN),
        (f"edited, not read at {found.scale}", [*scalars(by_meaning["elsewhere"])], ELSEWHERE),
        ("waivers", [waiver(one) for one in found.waivers], WAIVERS),
        ("sources", [mark(one) for one in found.marks], MARKS),
        ("edited under the source that they had", [source(one) for one in found.kept], KEPT),
    )
    shown: list[str] = []
    for title, entries, allowed in sections:
        most = max(1, int(allowed * share))
        if entries:
            shown += ["", f"{title}:", *(f"  {line}" for line in entries[:most])]
        if len(entries) > most:
            shown[-1] = f"  and {len(entries) - most + 1} more (--json has them)"
    return shown


def scalars(edits: Sequence[Edit]) -> Iterator[str]:
    """One line an edit. On one line together: the same edit in several files; files, or values below one key, that are
    new or gone.
    """
    blocks: dict[tuple[str, ...], list[Edit]] = {}
    for edit in edits:
        blocks.setdefault(_block(edit), []).append(edit)
    alike: dict[tuple[str | None, ...], list[Edit]] = {}
    for edit in edits:
        block = _block(edit)
        together = not edit.key or ((edit.old is None or edit.new is None) and len(blocks[block]) >= MANY)
        alike.setdefault(block if together else (edit.key, edit.old, edit.new), []).append(edit)
    for kind, same in alike.items():
        first, others = same[0], len(same) - 1
        what = "new" if first.old is None else "removed"
        if not first.key:
            yield f"{first.where.file}  {what}" if not others else f"{_folder(first)}  {len(same)} files {what}"
        elif kind == _block(first):
            yield f"{first.where}  {kind[1]}: {len(same)} values {what}"
        else:
            more = f" (and in {others} more place{'s' * (others > 1)})" if others else ""
            yield f"{first.where}  {first.key}: {pair(first)}{more}"


def _block(edit: Edit) -> tuple[str, ...]:
    """What is new or gone as a whole: files of a folder, values of a file below the first parts of a key."""
    how = "added" if edit.old is None else "removed" if edit.new is None else "changed"
    parts = edit.key.split(".")
    below = ".".join(parts[: 3 if parts[0] == "phases" else 2])
    return (edit.where.file, below, how) if edit.key else (_folder(edit), "", how)


def _folder(edit: Edit) -> str:
    return edit.where.file.rpartition("/")[0]


def pair(edit: Edit) -> str:
    """Old and new text of an edit; of a list of names, what it gained and lost, or what moved in it."""
    if edit.old is not None and edit.new is not None and _is_list(edit):
        was, now = ([name for name in text.split(SEPARATOR) if name] for text in (edit.old, edit.new))
        changes = [f"+{name}" for name in now if name not in was] + [f"-{name}" for name in was if name not in now]
        moved = None if changes else reordered(was, now)
        return shortened(SEPARATOR.join(changes), 2 * VALUE) if moved is None else _arrow(*moved)
    if edit.old is not None and edit.new is not None:
        return _arrow(edit.old, edit.new)
    text = shortened(brief(edit.new or edit.old or ""), VALUE)
    return f"added {text}" if edit.old is None else f"removed (was {text})"


def _is_list(edit: Edit) -> bool:
    """Whether either side is a list of names; a number of documents is called as a list of evaluations is."""
    texts = edit.old or "", edit.new or ""
    named = edit.key.rpartition(".")[2] in UNORDERED and not all(map(is_number, texts))
    return named or any(SEPARATOR in text for text in texts)


def _arrow(old: str, new: str) -> str:
    return f"{shortened(brief(old), VALUE)} {ARROW} {shortened(brief(new), VALUE)}"


def waiver(change: WaiverChange) -> str:
    """A changed waiver: what it excuses now, and what it excused before."""
    now, was = change.waiver, change.before
    found = now.found if was is None or was.found == now.found else f"{was.found} {ARROW} {now.found}"
    before = f" (before: {', '.join(was.at)})" if was is not None and was.at != now.at else ""
    return f"{change.what} {change.where}  {now.id}: {found}, at {', '.join(now.at)}{before}"


def mark(change: MarkChange) -> str:
    """Figures that now come from somewhere else."""
    named = ", ".join(change.figures)
    old, new = (shortened(one, VALUE) for one in (change.old, change.new))
    return f"{old} {ARROW} {new}  {change.file}  {named}"


def source(kept: KeptSource) -> str:
    """A source that is to say what the edited figures are now: it is shortened, the figures are not."""
    file, named = kept.file.removeprefix("specs/"), ", ".join(kept.figures)
    return f"{kept.mark}, {shortened(kept.said, VALUE)}  {file}  {named}"


def shortened(text: str, most: int) -> str:
    """A text of at most so many columns, on one line."""
    line = " ".join(text.splitlines())
    return line if len(line) <= most else line[: most - 3] + "..."
