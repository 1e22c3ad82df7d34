"""Whatever is written in a spec, the user gets an answer: never a traceback, at any of the command's words."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from stages import cli
from stages.errors import UserError
from stages.spec.project import Project
from tests.property.mutilate import malformed
from tests.shipped import parsed_once

ROOT = Path(__file__).resolve().parents[2]
# Every shipped file that a command reads stands in one of these; one pipeline a project, with its variants, is enough.
PIPELINES = ("llama31_1m", "kimi_vl", "ouro")
SCALES = ("mini", "paper", "small")
TEXTS = {
    path.relative_to(ROOT / "specs").as_posix(): path.read_text("utf-8")
    for path in sorted((ROOT / "specs").rglob("*.yaml"))
}


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """For each published pipeline a project that holds it, its variants and everything shared."""
    found = {}
    for pipeline in PIPELINES:
        root = found[pipeline] = tmp_path_factory.mktemp(pipeline)
        for name, text in TEXTS.items():
            if belongs(name, pipeline):
                path = root / "specs" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
    with parsed_once():
        yield found
    for root in found.values():
        shutil.rmtree(root)


def belongs(name: str, pipeline: str) -> bool:
    folder = name.partition("/")[0]
    return folder in ("data", "scales", "hardware") or folder.startswith(pipeline)


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, str, bytes, list[str]]:
    """(pipeline, file, what stands in it, words of the command)."""
    pipeline = draw(st.sampled_from(PIPELINES))
    name = draw(st.sampled_from([name for name in TEXTS if belongs(name, pipeline)]))
    scale = draw(st.sampled_from(SCALES))
    if name.startswith("hardware"):
        words = ["plan", pipeline, "--hardware", Path(name).stem, "--scale", scale]
    else:
        words = draw(st.sampled_from([
            ["check", "--scale", scale], ["check", "--scale", scale, "--json"], ["list", "--scale", scale],
            ["show", f"{pipeline}/{stages_of(pipeline)[0]}", "--scale", scale], ["plan", pipeline, "--scale", scale],
        ]))  # fmt: skip
    return pipeline, name, draw(malformed(TEXTS[name])), words


@functools.cache
def stages_of(pipeline: str) -> list[str]:
    return list(Project.load(ROOT).loaded(pipeline).stages)


def answer(root: Path, words: list[str]) -> tuple[int, str, str]:
    """(exit code, output, errors) of the command in this process; an exception that is no exit comes through."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(root)
        patch.setattr(sys, "argv", ["stages", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return code, out.getvalue(), err.getvalue()


def hold(projects: dict[str, Path], case: tuple[str, str, bytes, list[str]]) -> None:
    pipeline, name, data, words = case
    root = projects[pipeline]
    (root / "specs" / name).write_bytes(data)
    try:
        code, out, err = answer(root, words)
        if words[0] != "check":  # which resolves at full size too, and would turn what is raised into a finding
            resolves(root, pipeline)
    finally:
        (root / "specs" / name).write_text(TEXTS[name], "utf-8")
    assert "Traceback" not in out + err
    assert code in (0, 1, 2)
    event(f"`stages {words[0]}` ends with {code}")
    if code == 1 and words[0] != "check":
        assert re.search(r"specs/[^\s:]+:\d+: |there are|--scale: found|no specs", err), err


def resolves(root: Path, pipeline: str) -> bool:
    """Whether the pipeline resolves at full size; anything but a UserError comes through."""
    try:
        Project.load(root).resolve(pipeline, "paper")
    except UserError:
        return False
    return True


def test_the_projects_are_good_before_they_are_spoilt(projects: dict[str, Path]) -> None:
    for pipeline, root in projects.items():
        assert resolves(root, pipeline)
        assert answer(root, ["check", "--scale", "mini"])[0] == 0


few = settings(max_examples=60)
many = settings(
    max_examples=10_000,
    derandomize=False,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


@few
@given(case=cases())
def test_no_traceback_in_60_malformed_specs(projects: dict[str, Path], case: tuple[str, str, bytes, list[str]]) -> None:
    hold(projects, case)


@pytest.mark.nightly
@many
@given(case=cases())
def test_no_traceback_in_10_000_malformed_specs(
    projects: dict[str, Path], case: tuple[str, str, bytes, list[str]]
) -> None:
    hold(projects, case)
