"""The sums at the end of a difference: tokens, rotary positions, device-hours, and what is to be run again."""

from __future__ import annotations

from collections.abc import Callable

from stages.diff.effects import two
from stages.diff.semantic import Difference
from stages.plan import figures


def lines(found: Difference) -> list[str]:
    """Published pipelines first, variants next to them where there are any."""
    rope = [change.ref for change in found.changed if change.rope]
    cost, of_variants = found.published.rerun_hours + found.variants.rerun_hours, found.variants.rerun_hours
    share = f", of which {figures.short(of_variants)} are variants'" if of_variants else ""
    return [
        f"tokens: {_both(found.published.tokens, found.variants.tokens, figures.tokens)}; "
        f"RoPE: {f'changed in {len(rope)}' if rope else 'unchanged'}",
        f"{found.hours} of all pipelines on {found.hardware}: "
        f"{_both(found.published.device_hours, found.variants.device_hours, figures.short)}",
        f"to be run again: {found.rerun} stage{'s' * (found.rerun != 1)}, {figures.short(cost)} {found.hours}{share}; "
        f"{found.unchanged + len(found.shared)} stay as they are",
    ]


def _both(published: tuple[float, float], variants: tuple[float, float], write: Callable[..., str]) -> str:
    """What became of a sum; that of variants only where it changes."""
    own = "unchanged" if published[0] == published[1] else two(published, write)
    return own if variants[0] == variants[1] else f"{own} (variants {two(variants, write)})"
