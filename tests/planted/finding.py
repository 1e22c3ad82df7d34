"""A sound loop and one with a planted defect through the fixture that has to find it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.testing import fixtures, golden, loops
from tests.planted.defects import CUTS, PLAIN, STEPS, Defect
from tests.planted.plain import BATCH, Plain

Loop = Callable[[], Any]
LIBRARIES = ("plain torch", "Hugging Face Trainer", "Lightning")
FIXTURES = ("curve", "twin", "layout")
PROPERTY = "planted"  # of a test's report: (library, defect, fixture, what the fixture said)
SOUND = "none"  # the defect of a sound loop


class Curve(fixtures.Curve):
    """With its golden in a directory of its own, written from a run of the sound loop."""

    def _path(self, name: str) -> Path:
        return self._folder / "golden.yaml"

    def keep(self, train: loops.Train) -> None:
        content = loops.run(train, STEPS, self.fresh()).content()
        about = {"reason": "sound", **self._checker(train).made_from}
        entry = {"about": about, "golden": content}
        golden.write(self._path(""), {"environments": {str(self._fingerprint["id"]): entry}})


def message(request: pytest.FixtureRequest, folder: Path, fixture: str, sound: Loop, tried: Loop) -> str:
    """What the fixture says; "" where it finds nothing."""
    try:
        if fixture == "twin":
            fixtures.Twin(request, folder)(tried().train, STEPS, cuts=CUTS)
        elif fixture == "layout":
            fixtures.Layout(request, folder)(still(tried).train, still(tried, BATCH).train, steps=3, tier="same-order")
        else:
            curve = Curve(request, folder)
            curve.keep(sound().train)
            curve(tried().train, STEPS)
    except pytest.fail.Exception as error:
        return str(error)
    return ""


def still(made: Loop, micro: int | None = None) -> Any:
    """The loop without dropout, whose masks follow from the division into micro-batches; in micro-batches of a size."""
    loop = made()
    loop.dropout = 0.0
    if micro is not None:
        loop.micro, loop.accumulated = micro, BATCH // micro
    return loop


def loops_with(place: int) -> dict[str, tuple[Loop, Loop | None]]:
    """The name of each library, its sound loop, and the one with a defect; None where it cannot be planted."""
    from tests.planted.face import FACE, Face
    from tests.planted.light import LIGHT, Light

    return {
        "plain torch": (Plain, PLAIN[place]), "Hugging Face Trainer": (Face, FACE[place]),
        "Lightning": (Light, LIGHT[place]),
    }  # fmt: skip


def expected(defect: Defect) -> str:
    return f"first differs at step {defect.step}: {defect.component}\n"
