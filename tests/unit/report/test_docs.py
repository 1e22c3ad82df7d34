"""What the documentation says is there is there: links, files named in tables, lines quoted from specs."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from itertools import chain, pairwise
from pathlib import Path

import pytest

from stages.report.record import BEGIN, END

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PIPELINES = ("llama31_1m", "kimi_vl", "ouro")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_page_begins_with_a_title_and_what_it_is_for_in_words(page: Path) -> None:
    if page.name == "README.md":  # the index, which says of each page when to read it
        return
    title, _, first, *_ = page.read_text(encoding="utf-8").splitlines()
    assert title.startswith("# ")
    assert first[:1].isupper(), first
    assert len(first) > 40, first


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_page_shows_something_to_type_or_to_write_on_its_first_screen(page: Path) -> None:
    if page.name == "README.md":
        return
    assert "```" in "\n".join(page.read_text(encoding="utf-8").splitlines()[:25])


def test_pip_is_given_names_that_are_known_and_paths() -> None:
    """A placeholder such as CHECKOUT is a name too: typed as it stands, pip installs whatever an index has under it."""
    texts = [*PAGES, *sorted((ROOT / "stages").rglob("*.py")), *sorted((ROOT / "examples").rglob("*.sh"))]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    known = {project["name"], "flash-attn-4", *(re.split(r"[\[<>=]", one)[0] for one in wanted)}
    known.add("apex")  # of which it is said that it is another package
    typed = re.compile(r"pip install(?: +--[a-z-]+)* +['\"]?(?!-)([^`'\"\s{]+)")
    named = {(path.name, what) for path in texts for what in typed.findall(path.read_text(encoding="utf-8"))}
    assert {one for one in named if re.split(r"[\[=]", one[1])[0] not in known and one[1][0] not in "/$"} == set()
    assert len(named) > 10


def test_no_command_names_a_target_behind_config() -> None:
    """Snakemake takes every word behind `--config` for a value: a target there ends in a traceback of its parser."""
    typed = re.compile(r"snakemake [^`\n#]*--config(?: +\w+=[^ `\n]+)+ +(?!-|#|\w+=)[^ `\n]+")
    assert [
        (page.name, *typed.findall(page.read_text(encoding="utf-8")))
        for page in PAGES
        if typed.search(page.read_text(encoding="utf-8"))
    ] == []


def anchors(page: Path) -> set[str]:
    """Those that a reader's browser makes of a page's headings: small letters, blanks as hyphens, no other signs."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    places = [(page.parent / file if file else page, anchor) for file, anchor in links]
    assert [(file.name, anchor) for file, anchor in places if anchor not in anchors(file)] == []


def test_the_changelog_says_everything_once() -> None:
    """Two branches that both write on top of a list are easily joined into two lists, one below the other."""
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    begun = [line for line in lines if line.startswith(("- ", "#"))]
    assert {line: count for line, count in Counter(begun).items() if count > 1} == {}
    assert [line for before, line in pairwise(lines) if line.startswith("#") and before] == []


def test_the_readme_quotes_the_specs_word_by_word() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    edge, schedule = re.findall(r"```yaml\n(.*?)```", readme, flags=re.DOTALL)
    assert edge in (ROOT / "specs/kimi_vl/joint_cooldown.yaml").read_text(encoding="utf-8")
    quoted = [line.strip() for line in schedule.splitlines()]
    text = [line.strip() for line in (ROOT / "specs/kimi_vl/pipeline.yaml").read_text(encoding="utf-8").splitlines()]
    start = text.index(quoted[0])
    assert text[start : start + len(quoted)] == quoted


def test_the_readme_has_the_place_that_records_write_to() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count(BEGIN) == readme.count(END) == 1
    assert readme.index(BEGIN) < readme.index(END)


def test_figures_names_every_spec_of_the_published_pipelines_and_no_other() -> None:
    sections = re.split(r"^## ", (ROOT / "docs/figures.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for pipeline in PIPELINES:
        section = next(text for text in sections if text.startswith(f"`{pipeline}`"))
        patterns = {
            word for line in section.splitlines() if line.startswith("|") for word in re.findall(r"`(\S+\.yaml)`", line)
        }
        folder = ROOT / "specs" / pipeline
        named = {path.name for pattern in patterns for path in folder.glob(pattern)}
        assert all(list(folder.glob(pattern)) for pattern in patterns)
        assert named == {path.name for path in folder.glob("*.yaml")} - {"pipeline.yaml"}


def test_figures_names_every_variant() -> None:
    text = (ROOT / "docs/figures.md").read_text(encoding="utf-8")
    variants = [path.name for path in (ROOT / "specs").iterdir() if re.search(r"_seed\d+$", path.name)]
    assert variants
    assert all(f"`{name}`" in text for name in variants)
