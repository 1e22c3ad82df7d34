"""Numbers as people read them: 5.2T tokens, 128K context, 4.2e-4."""

from __future__ import annotations

from stages.spec.resolved import Stage

UNITS = {"tokens": "tokens", "patches": "image patches"}  # of a phase's budget
_DECIMAL = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


def count(number: int | float) -> str:
    """A count in decimal units with three digits: 5_200_000_000_000 -> "5.2T", 20_000_000_000 -> "20B"."""
    for size, letter in _DECIMAL:
        if abs(number) >= size * 0.9995:  # 999.6K reads 1M
            return f"{float(f'{number / size:.3g}'):g}{letter}"
    return f"{number:.3g}"


def length(positions: int) -> str:
    """A context length in binary units where it is a whole number of them: 131072 -> "128K", 1048576 -> "1M"."""
    for size, letter in ((2**20, "M"), (2**10, "K")):
        if positions >= size and positions % size == 0:
            return f"{positions // size}{letter}"
    return f"{positions:,}"


def lengths(stage: Stage) -> list[str]:
    """The contexts of a stage's phases, each once, in their order."""
    return list(dict.fromkeys(length(phase.context) for phase in stage.phases))


def seconds(duration: float) -> str:
    """A duration: 42 -> "42 s", 190 -> "3 min 10 s", 7300 -> "2 h 2 min"."""
    whole = round(duration)
    if whole < 60:
        return f"{duration:.1f} s" if duration < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def rate(value: float) -> str:
    """A learning rate in figures, without trailing zeros: 0.0003 -> "3e-4", 4.2e-05 -> "4.2e-5", 0 -> "0"."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def loss(value: float) -> str:
    """A loss with three decimals, and with two digits where these would all be 0: that of APO-zero begins at 0."""
    return rate(float(f"{value:.1e}")) if 0 < abs(value) < 0.0005 else f"{value + 0.0:.3f}"
