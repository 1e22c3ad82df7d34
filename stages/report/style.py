"""How every picture of this project looks, and how it gets on disk."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from stages.store.files import write_atomic

# Okabe & Ito's palette (https://jfly.uni-koeln.de/color/): distinguished by colour-blind readers, and in grey.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
INK, GREY, BAND = "#222222", "#767676", "#F4F4F2"

RC = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters on every machine
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "axes.linewidth": 0.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in this project's style, without touching the style of the caller."""
    with matplotlib.rc_context(RC):
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    A `Figure` made without pyplot has the Agg canvas: no window system is needed and nothing has to be closed. The
    file carries no date and no program version, so that the same picture is the same bytes.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    write_atomic(path, buffer.getvalue())
