"""Two pictures of one stage: its loss and its learning rate over the tokens it consumed."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from stages.report.metrics import running_mean
from stages.report.number_format import UNITS, count, length, rate
from stages.report.style import BLUE, GREY, INK, VERMILLION, save, styled
from stages.spec.resolved import Stage


def write(stage: Stage, metrics: pd.DataFrame, folder: Path) -> None:
    """Write `plots/loss.png` and `plots/lr.png` under a stage's folder from its metrics (see report.metrics)."""
    save(draw_loss(stage, metrics), folder / "plots" / "loss.png")
    save(draw_lr(stage, metrics), folder / "plots" / "lr.png")


def subtitle(stage: Stage) -> str:
    """The stage, the scale, and "stand-in" where a released model was replaced by a fresh start."""
    stand_in = ", stand-in" if stage.stand_in else ""
    return f"{stage.ref}, {stage.scale}{stand_in}"


def draw_loss(stage: Stage, metrics: pd.DataFrame) -> Figure:
    """Loss of every step in a light line, its running mean over a twentieth of the stage in a strong one."""
    with styled():
        figure, axes = _axes(stage, metrics)
        raw = metrics["loss"]
        window = max(1, len(raw) // 20)
        several = len(raw) > 1
        axes.plot(metrics["consumed"], raw, color=BLUE, alpha=0.35, linewidth=0.9, marker="" if several else "o")
        if window > 1:
            axes.plot(metrics["consumed"], running_mean(raw, window), color=BLUE, linewidth=2.2)
            note = f"light: every step; strong: mean over {window} steps"
        else:
            note = "every step"
        axes.set_ylabel("training loss")
        axes.annotate(
            note, (1, 1), (0, 3), "axes fraction", textcoords="offset points", ha="right", fontsize=7.5, color=GREY
        )
    return figure


def draw_lr(stage: Stage, metrics: pd.DataFrame) -> Figure:
    """Learning rate of every step, on a linear axis from 0, with its first, highest and last value in figures."""
    with styled():
        figure, axes = _axes(stage, metrics)
        axes.plot(
            metrics["consumed"], metrics["lr"], color=VERMILLION, linewidth=2.2, marker="o" if len(metrics) == 1 else ""
        )
        axes.set_ylim(0, metrics["lr"].max() * 1.15 or 1.0)
        axes.set_ylabel("learning rate")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: rate(value)))
        first, last = metrics["lr"].iloc[0], metrics["lr"].iloc[-1]
        note = f"first {rate(first)}, highest {rate(metrics['lr'].max())}, last {rate(last)}"
        axes.annotate(
            note, (1, 1), (0, 3), "axes fraction", textcoords="offset points", ha="right", fontsize=7.5, color=GREY
        )
    return figure


def _axes(stage: Stage, metrics: pd.DataFrame) -> tuple[Figure, Axes]:
    """An empty picture with the stage's title, its token axis, and a line where a phase begins."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes: Axes = figure.subplots()
    axes.set_title(textwrap.fill(stage.box, 72), color=INK, pad=16)
    axes.annotate(
        subtitle(stage), (0, 1), (0, 3), "axes fraction", textcoords="offset points", fontsize=7.5, color=GREY
    )
    axes.set_xlim(0, metrics["consumed"].iloc[-1])
    axes.set_xlabel(f"{UNITS[stage.phases[0].unit]} consumed in this stage ({len(metrics):,} steps)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    begin = stage.phases[0].clock_start
    for phase in stage.phases[1:]:
        axes.axvline(phase.clock_start - begin, color=GREY, linewidth=0.8, linestyle=":")
        axes.annotate(
            f"{phase.name}, {length(phase.context)}", (phase.clock_start - begin, 1), (3, -9),
            ("data", "axes fraction"), textcoords="offset points", fontsize=7.5, color=GREY,
        )  # fmt: skip
    return figure, axes
