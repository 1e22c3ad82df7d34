"""Figures as plans and diffs print them: three digits and a prefix, exact where a spec's writing is exact."""

from __future__ import annotations

from stages.spec.resolved_models import Rope
from stages.spec.units import format_tokens

_PREFIXES = ((1e24, "Y"), (1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float) -> str:
    """Three digits with an SI prefix: 4.54Z operations, 96.4G bytes."""
    for size, prefix in _PREFIXES:
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{prefix}" if value < 999.5 * size else f"{value / size:.0f}{prefix}"
    return f"{value:.3g}"


def tokens(value: int) -> str:
    """A budget in four digits: 0.6T, 7.72T, 8Ki, 2.992T."""
    if value and value % 1024 == 0 and value % 1000 and len(exact := format_tokens(value)) <= 5:
        return exact
    for size, prefix in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        tenths = value % (size // 10) == 0 and 10 * value >= size
        if value >= size or tenths:
            return f"{value / size:.4g}{prefix}"
    return str(value)


def count(value: int, digits: int = 4) -> str:
    """Parameters as they are spoken of: 8.030B, 416.9M, 86.30K."""
    for size, prefix in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if value >= size:
            return f"{value / size:#.{digits}g}".rstrip(".") + prefix
    return str(value)


def rate(value: float) -> str:
    """A learning rate in two digits, or in up to four where it has no more: 4.2e-4 and not 4.2e-04, 3.05e-4."""
    if value == 0:
        return "0"
    exact = (text for text in (f"{value:.{more}e}" for more in (1, 2, 3)) if float(text) == value)
    digits, _, exponent = next(exact, f"{value:.1e}").partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def rope(value: Rope | None) -> str:
    """Base, factor of llama3 scaling, interpolation: 500K x8 /8; or base and YaRN's factor: 1M yarn x4."""
    if value is None:
        return ""
    base = f"{value.base:.4g}" if value.base < 1000 else short(value.base).replace("k", "K")
    scaling = f" x{value.llama3.factor:g}" if value.llama3 is not None else ""
    scaling += f" yarn x{value.yarn.factor:g}" if value.yarn is not None else ""
    return base + scaling + (f" /{value.interpolation:g}" if value.interpolation != 1 else "")


def signed_percent(old: float, new: float) -> str:
    """A relative change: +4.2%, or "new" from nothing."""
    return "new" if old == 0 else f"{100 * (new - old) / old:+.3g}%"
