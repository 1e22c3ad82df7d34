"""The sizes of models that many recipes begin from, by the name in the path that is loaded."""

from __future__ import annotations

import re
from functools import cache
from types import MappingProxyType

from stages.audit.frameworks import settings
from stages.audit.recipe import Scalar, Stage, scalar

_FIGURES = ("layers", "hidden", "ffn", "heads", "kv_heads", "head_dim", "tied", "rope_base")
_NEVER = re.compile(r"draft|tiny|mini|prun|depth|minitron|distil|\d+l(?![a-z])")  # made of a model, with other sizes


@cache
def models() -> MappingProxyType[str, MappingProxyType[str, Scalar]]:
    """Sizes by name, of flags/models.txt, which has their sources; longer names first."""
    rows = [line.split() for line in settings("models.txt")]
    found = {row[0]: dict(zip(_FIGURES, map(scalar, row[1:]), strict=True)) for row in rows}
    return MappingProxyType({name: MappingProxyType(found[name]) for name in sorted(found, key=len, reverse=True)})


def begins_from(stage: Stage) -> str | None:
    """The model of that list that a run's first checkpoint is called after; None where no other or several are."""
    path = stage.text("converted_from") or stage.text("pretrained") or stage.text("load") or ""
    named = "/".join(path.rstrip("/").split("/")[-2:]).lower()
    if _NEVER.search(named):
        return None
    plain = re.sub(r"[^a-z0-9.]", "", named)
    found = [name for name in models() if _named(re.sub(r"[^a-z0-9.]", "", name), plain)]
    sizes = {tuple(models()[name].values()) for name in found}
    return found[0] if len(sizes) == 1 else None


def _named(name: str, plain: str) -> bool:
    """Whether a name is in a path, with its dots or without them, and no digit before or behind it."""
    return any(re.search(rf"(?<![\d.]){re.escape(one)}(?!\d)", plain) for one in {name, name.replace(".", "")})
