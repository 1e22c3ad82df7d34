"""How a difference is reported: what changed, the largest change, and what else changed since the golden was made."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.testing.golden import flat

MOST = 12  # changes that a message lists
SAME = "nothing: neither specs nor code nor environment; the numbers themselves are not reproducible"


def changes(old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """(path, before, now) of every plain value that differs; None where there is none."""
    before, now = dict(flat(old)), dict(flat(new))
    paths = dict.fromkeys([*before, *now])
    return [(path, before.get(path), now.get(path)) for path in paths if before.get(path) != now.get(path)]


def largest(found: list[tuple[str, Any, Any]]) -> str:
    """The number that changed most, relative to what it was; "" where no number changed."""
    moved = [
        (abs(now - before) / abs(before), path)
        for path, before, now in found
        if isinstance(before, int | float) and isinstance(now, int | float) and before
    ]
    if not moved:
        return ""
    size, path = max(moved)
    return f"largest change {100 * size:.3g}%, {path}"


def listed(found: list[tuple[str, Any, Any]]) -> str:
    """One line for each change, as many as people read."""
    lines = [f"  {path}: {_short(before)} -> {_short(now)}" for path, before, now in found[:MOST]]
    if len(found) > MOST:
        lines.append(f"  and {len(found) - MOST} more")
    return "\n".join(lines)


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def since(about: Mapping[str, Any], now: Mapping[str, Any], root: Path, specs: list[tuple[str, Any, Any]]) -> str:
    """What changed since a golden was made: specs by field, code by file, the environment by field."""
    lines = []
    if about.get("key") != now.get("key"):
        fields = "\n".join(f"    {line.strip()}" for line in listed(specs).splitlines())
        moved = [scale for scale, key in (now.get("key") or {}).items() if (about.get("key") or {}).get(scale) != key]
        lines.append(f"  specs: another key at {', '.join(moved)}" + (f"\n{fields}" if fields else ""))
    made, here = ([one.get(name) for name in ("code", "revision", "files")] for one in (about, now))
    if made != here:
        lines.append(_code(root, about, now))
    environment = changes(about.get("environment"), now.get("environment"))
    if environment:
        lines.append(f"  environment:\n{listed(environment)}")
    revision = about.get("revision")
    at = "" if revision in (None, "unknown") else f", at {revision}"
    begin = f"changed since the golden was made ({about.get('made')}{at}"
    return f"{begin}; reason: {about.get('reason')}):\n" + ("\n".join(lines) if lines else f"  {SAME}")


def _code(root: Path, about: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    text = "  code:"
    if about.get("revision") != now.get("revision"):
        text += f" {about.get('revision')} -> {now.get('revision')}"
    if about.get("code") != now.get("code"):
        text += f" the package's digest {about.get('code')} -> {now.get('code')}"
    files = changes(about.get("files"), now.get("files"))
    touched = [path for path, _, _ in files] or _touched(root, str(about.get("revision")).removesuffix("+"))
    return text + "".join(f"\n    {line}" for line in touched[:MOST])


def _touched(root: Path, revision: str) -> list[str]:
    """Python files that differ from a revision; none where this is no checkout of git or the revision is unknown."""
    command = ["git", "diff", "--stat=100", revision, "--", "*.py"]
    if not revision.isalnum() or revision == "unknown":
        return []
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return [line.strip() for line in done.stdout.splitlines()] if done.returncode == 0 else []
