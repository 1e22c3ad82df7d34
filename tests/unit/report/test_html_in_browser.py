"""The report in a real browser, at the width of a phone and of a desk, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.report.html import folder
from stages.report.html.sweeps import Swept
from stages.spec.resolved import Stage
from stages.store.layout import Layout
from tests.edits import replaced
from tests.unit.report.browser import CHROMIUM, DRIVER, Browser, browser
from tests.unit.report.make import T, chain_like, kimi_like, ouro_like, points_like, write_result
from tests.unit.report.pages import BUCKETS, HEAD, NEEDLES, subject

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        None in (CHROMIUM, DRIVER), reason="no chromium and chromedriver here (Debian: chromium-driver)"
    ),
]
PHONE, DESK = (360, 800), (1280, 900)
LONG = "unbroken" * 40


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pipelines: one whose every evaluation is there, and one with nothing but long words."""
    root = tmp_path_factory.mktemp("project")
    stages = ouro_like("mini")
    evaluations = {"validation": {"loss": 3.25}, "needle": NEEDLES, "loops": {"1": 4.0, "2": 3.5},
                   "positions": {"buckets": BUCKETS, "beyond": 5.0}}  # fmt: skip
    finished = ("warmup", "stable1")
    for name in finished:
        write_result(root, stages[name], before=evaluations, after=evaluations)
    layout = Layout(root, "mini")
    layout.log("1".rjust(32, "0")).parent.mkdir(parents=True)
    layout.log("1".rjust(32, "0")).write_text("trained\n")
    vision: dict[str, Stage] = {
        name: stage.model_copy(update={"scale": "mini", "box": LONG}) for name, stage in kimi_like().items()
    }
    swept = Swept("two", f"schedules.{LONG}", {"ouro/warmup": "1e-4", "ouro/stable1": LONG, "ouro/long_a": "3e-4"})
    out = root / "report"
    folder.write(
        out,
        [subject(root, stages, dict.fromkeys(finished, "done"), swept=(swept,)),
         subject(root, vision, name="kimi", title=LONG, citation=LONG, problems=[LONG])],
        HEAD,
    )  # fmt: skip
    return out


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("page", ["index.html", "ouro.html", "kimi.html"])
def test_a_page_fits_its_window_and_the_console_says_nothing(
    window: Browser, report: Path, page: str, size: tuple[int, int], dark: bool
) -> None:
    window.size(*size, dark)
    window.open(report / page)
    assert window.errors() == []
    width, shown = window.script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= shown == size[0]


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_of_each_drawing_the_one_that_fits_is_shown_and_its_text_can_be_read(
    window: Browser, report: Path, size: tuple[int, int]
) -> None:
    window.size(*size)
    window.open(report / "ouro.html")
    shown = window.script(
        "return [...document.querySelectorAll('.wide, .narrow')]"
        ".filter(one => one.offsetWidth).map(one => one.className)"
    )
    assert set(shown) == {"narrow" if size == PHONE else "wide"}
    letters = window.script(
        "return [...document.querySelectorAll('svg text')].filter(one => one.getClientRects().length)"
        ".map(one => one.getBoundingClientRect().height)"
    )
    assert min(letters) >= 9


def test_a_phone_shows_what_evaluations_came_to(window: Browser, report: Path) -> None:
    window.size(*PHONE)
    window.open(report / "ouro.html")
    right = window.script(
        "return Math.max(...[...document.querySelectorAll('#evaluations td:nth-child(4)')]"
        ".map(one => one.getBoundingClientRect().right))"
    )
    assert right <= PHONE[0]


def test_texts_in_drawings_stay_inside_them(window: Browser, report: Path) -> None:
    for size in (PHONE, DESK):
        window.size(*size)
        window.open(report / "ouro.html")
        outside = window.script(
            "return [...document.querySelectorAll('svg[role=img] text')].filter(one => one.getClientRects().length)"
            ".filter(one => { const t = one.getBoundingClientRect(), s = one.ownerSVGElement.getBoundingClientRect();"
            " return t.left < s.left - 1 || t.right > s.right + 1; }).map(one => one.textContent)"
        )
        assert outside == []


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("name", ["one", "thirty", "points", "report"])
def test_texts_in_drawings_do_not_touch_and_a_stage_s_are_inside_its_box(
    window: Browser, report: Path, tmp_path: Path, name: str, size: tuple[int, int]
) -> None:
    """One stage, thirty in a row, and decays from points of a trunk that are near one another."""
    made = {"one": chain_like(1), "thirty": chain_like(30), "points": points_like(T // 2, T * 6 // 10, T * 7 // 10)}
    if name in made:
        folder.write(tmp_path / "out", [subject(tmp_path, made[name])], HEAD)
    window.size(*size)
    window.open((report if name == "report" else tmp_path / "out") / "ouro.html")
    touching = window.script(
        "const found = []; for (const svg of document.querySelectorAll('svg[role=img]')) {"
        " const all = [...svg.querySelectorAll('text')].map(one => [one.textContent, one.getBoundingClientRect()]);"
        " all.forEach(([a, r], i) => all.slice(i + 1).forEach(([b, s]) => {"
        "  if (Math.min(r.right, s.right) - Math.max(r.left, s.left) > 1.5"
        "      && Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top) > 3) found.push([a, b]); })); }"
        "for (const a of document.querySelectorAll('svg a')) { const box = a.querySelector('rect');"
        " for (const one of a.querySelectorAll('text'))"
        "  if (one.getBoundingClientRect().right > box.getBoundingClientRect().right) found.push([one.textContent]); }"
        "return found"
    )
    assert touching == []
    assert window.script("return document.documentElement.scrollWidth") <= size[0]


def test_every_link_leads_to_a_file_and_a_place_on_it(window: Browser, report: Path) -> None:
    window.size(*DESK)
    found = 0
    for page in sorted(report.glob("*.html")):
        window.open(page)
        links = window.script("return [...document.querySelectorAll('a')].map(one => one.href.baseVal ?? one.href)")
        for link in links:
            name, _, place = link.rpartition("/")[2].partition("#")
            target = report / (name or page.name)
            assert target.is_file(), link
            assert not place or f'id="{place}"' in target.read_text(), link
            found += 1
    assert found > 40


def test_nothing_is_loaded_from_elsewhere(window: Browser, report: Path) -> None:
    for page in report.glob("*.html"):
        window.open(page)
        assert window.script("return performance.getEntriesByType('resource').length") == 0
        broken = "return [...document.images].filter(one => !one.complete || !one.naturalWidth).length"
        assert window.script(broken) == 0


def test_text_has_enough_contrast_in_light_and_dark(window: Browser, report: Path) -> None:
    """4.5 to 1 at least (WCAG 2.2, 1.4.3) between the palette's words and what they are written on."""
    for dark in (False, True):
        window.size(*DESK, dark)
        window.open(report / "index.html")
        names = ["ink", "soft", "link", "good", "info", "care", "bad", "idle"]
        grounds = {
            "good": "good-soft",
            "info": "info-soft",
            "care": "care-soft",
            "bad": "bad-soft",
            "idle": "idle-soft",
        }
        style = "const s = getComputedStyle(document.documentElement); return arguments"
        for name in names:
            for ground in [grounds.get(name, "page"), *(["card"] if name in ("ink", "soft", "link") else [])]:
                pair = [
                    window.script(replaced(style, "arguments", f"s.getPropertyValue('--{one}')"))
                    for one in (name, ground)
                ]
                assert contrast(*pair) >= 4.5, (dark, name, ground, pair)


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours "#rrggbb" (WCAG 2.2)."""
    light = []
    for colour in (first, second):
        parts = [int(colour.strip()[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        light.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(light) + 0.05) / (min(light) + 0.05)
