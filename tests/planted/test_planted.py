"""Each planted defect is found by a fixture, which names its first step and its component; sound loops pass."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page import Page
from tests.planted import finding
from tests.planted.defects import DEFECTS
from tests.unit.testing.session import Session

DAILY = (2, 4, 9)  # generator, accumulation, last batch
LIBRARIES = ("plain torch", "Hugging Face Trainer", "Lightning")


@pytest.fixture(autouse=True)
def _their_warnings() -> Iterator[None]:
    """The libraries warn of their own deprecations, and Lightning of every small machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def cases() -> Iterator[Any]:
    """Every defect in every loop; by day all in plain torch, and one of each kind in the others."""
    for place, defect in enumerate(DEFECTS):
        for library in LIBRARIES:
            marks = [] if library == "plain torch" or place in DAILY else [pytest.mark.nightly]
            yield pytest.param(library, place, id=f"{library}-{defect.name}", marks=marks)


@pytest.mark.parametrize(("library", "place"), [*cases()])
def test_a_planted_defect_is_found(library: str, place: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    sound, broken = finding.loops_with(place)[library]
    if broken is None:
        pytest.skip("this library has no GradScaler on a CPU")
    said = finding.told(request, tmp_path, DEFECTS[place].fixture, sound, broken)
    assert finding.expected(DEFECTS[place]) in f"{said}\n", said


@pytest.mark.parametrize("fixture", ["curve", "twin", "layout"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_sound_loop_gives_no_alarm(
    library: str, fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    sound, _ = finding.loops_with(0)[library]
    assert finding.told(request, tmp_path, fixture, sound, sound) == ""


def test_the_loops_of_the_documentation_are_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("test_trainer.py", "test_lightning.py"):
        (tmp_path / name).write_text(Page("snapshot-testing.md").files()[name])
    code, said = Session(tmp_path, monkeypatch, capsys)("-W", "ignore", "--stages-seed", "462072")
    assert (code, "2 passed" in said) == (0, True), said
