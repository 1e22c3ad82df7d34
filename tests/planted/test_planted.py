"""Each planted defect is found by a fixture, which names its first step and its component; sound loops pass."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page import Page
from tests.planted import finding, record
from tests.planted.defects import DEFECTS
from tests.unit.testing.session import Session

DAILY = (2,)  # generator


@pytest.fixture(autouse=True)
def _their_objects_stay() -> Iterator[None]:
    """The Trainer and each inner session search all objects, those of the libraries again and again."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _their_warnings() -> Iterator[None]:
    """The libraries warn of their own deprecations, and Lightning of every small machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def cases() -> Iterator[Any]:
    """Every defect in every loop; by day all in plain torch, and one in the others."""
    for place, defect in enumerate(DEFECTS):
        for library in finding.LIBRARIES:
            marks = [] if library == "plain torch" or place in DAILY else [pytest.mark.nightly]
            yield pytest.param(library, place, id=f"{library}-{defect.name}", marks=marks)


@pytest.mark.parametrize(("library", "place"), [*cases()])
def test_a_planted_defect_is_found(library: str, place: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    sound, broken = finding.loops_with(place)[library]
    if broken is None:
        pytest.skip("this library has no GradScaler on a CPU")
    defect = DEFECTS[place]
    said = finding.message(request, tmp_path, defect.fixture, sound, broken)
    request.node.user_properties.append((finding.PROPERTY, (library, defect.name, defect.fixture, said)))
    assert finding.expected(defect) in f"{said}\n", said


def test_the_record_counts_a_defect_as_found_only_at_its_step_and_component() -> None:
    for defect in DEFECTS:
        where = f"step {defect.step}: {defect.component}"
        assert record.found(f"a title: first differs at {where}\n  then loss at step 9", defect) == (where, True)
        for other in (f"step {defect.step}1: {defect.component}", f"step {defect.step}: {defect.component} of group 7"):
            assert record.found(f"first differs at {other}", defect) == (f"**not found**, {other}", False)
        assert record.found("the test did not run", defect) == ("**not found**, the test did not run", False)
        assert record.found("", defect) == ("**not found**", False)


def sound_loops() -> Iterator[Any]:
    """By day those in plain torch: the loops of the documentation are sound ones of the other libraries."""
    for library in finding.LIBRARIES:
        yield pytest.param(library, marks=[] if library == "plain torch" else [pytest.mark.nightly])


@pytest.mark.parametrize("fixture", finding.FIXTURES)
@pytest.mark.parametrize("library", [*sound_loops()])
def test_a_sound_loop_gives_no_alarm(
    library: str, fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    sound, _ = finding.loops_with(0)[library]
    said = finding.message(request, tmp_path, fixture, sound, sound)
    request.node.user_properties.append((finding.PROPERTY, (library, finding.SOUND, fixture, said)))
    assert said == ""


def test_the_loops_of_the_documentation_are_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("test_trainer.py", "test_lightning.py"):
        (tmp_path / name).write_text(Page("testing-any-loop.md").files()[name])
    code, said = Session(tmp_path, monkeypatch, capsys)("-W", "ignore", "--stages-seed", "462072")
    assert (code, "2 passed" in said) == (0, True), said
