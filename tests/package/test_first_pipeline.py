"""docs/first-pipeline.md, typed in an environment that has the wheel and no repository: every file and every command.

The page's first block makes the environment and installs the wheel; here `clean` does that. Everything else is typed as
it stands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import page
from tests.edits import replaced
from tests.package import clean
from tests.package.clean import Clean

pytestmark = pytest.mark.slow
PAGE = page.Page("first-pipeline.md")
DIRECTORY = '\npwd > "$DIRECTORY"\n'  # a later block is typed where an earlier one has gone


class Followed(NamedTuple):
    """Where the page ends, and what each of its blocks of commands printed."""

    project: Path
    said: list[str]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    wheel = clean.build_wheel(tmp_path_factory.mktemp("wheel"))
    return clean.make(tmp_path_factory.mktemp("clean") / "venv", wheel, ["pytest"])


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, installed: Clean) -> Followed:
    here, kept, said = tmp_path_factory.mktemp("page"), tmp_path_factory.mktemp("kept") / "directory", []
    first, *blocks = PAGE.blocks()
    assert "pip install" in first[1]
    for language, text in blocks:
        if language in page.FILES:
            page.write(here, page.file_of(text), text)
        elif language == "sh":
            said.append(installed.type(f"DIRECTORY={kept}\n{text}{DIRECTORY}", here))
            here = Path(kept.read_text().strip())
    return Followed(here, said)


def test_the_page_ends_in_a_finished_project_without_changes_to_commit(followed: Followed, installed: Clean) -> None:
    assert "Nothing to be done" in installed.type("snakemake -n", followed.project)
    assert "up to date" in installed.type("dvc status", followed.project)
    assert installed.type("git status --porcelain", followed.project) == ""


def test_the_model_learned_the_persons_own_text(followed: Followed) -> None:
    for stage in ("pretrain", "long", "sft"):
        found = json.loads((followed.project / "results/mini/tiny" / stage / "eval.json").read_text())
        before, after = (found[when]["validation"]["by_corpus"] for when in ("before", "after"))
        assert before.keys() == after.keys() == {"chats" if stage == "sft" else "mine"}
        assert all(after[corpus] < before[corpus] for corpus in before)


def test_the_changed_rate_trained_one_stage_again_and_no_other(followed: Followed) -> None:
    (said,) = [text for text in followed.said if "  earlier  " in text]
    assert "to be run again: 1 stage," in said
    assert "tiny/sft main 48/48" in said
    assert "tiny/pretrain main" not in said
    assert "tiny/long main" not in said


def test_the_snapshots_fail_on_a_change_that_nobody_meant(followed: Followed, installed: Clean) -> None:
    spec = followed.project / "specs/tiny/long.yaml"
    kept = spec.read_text()
    assert kept.count("base: 10_000") == 1
    spec.write_text(replaced(kept, "base: 10_000", "base: 20_000"))
    try:
        done = installed.run("pytest --stages --stages-select tiny/long -m spec", followed.project)
    finally:
        spec.write_text(kept)
    assert done.returncode == 1
    assert "20000" in done.stdout.replace("_", "").replace(",", "")


def test_the_export_is_a_folder_of_transformers(followed: Followed) -> None:
    made = followed.project.parent / "my-model"
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {path.name for path in made.iterdir()}
