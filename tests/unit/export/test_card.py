"""The model card: a head that the hub reads, where the model is from, what may be said of it and what may not."""

from __future__ import annotations

import shutil
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.commands.chosen import Chosen
from stages.errors import UsageError
from stages.export import card, lineage
from stages.export.card import Facts, head
from stages.export.names import Published
from stages.export.result import Result
from stages.spec.schema.releases import RawReleaseFiles
from stages.store import manifest
from tests.unit.export.conftest import Export

FACTS = Facts("float32", None, (), remote_code=False, chat=True, folder="export")


def parts(folder: Path) -> tuple[dict[str, Any], str]:
    _, top, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(top), body


def opened(root: Path, ref: str) -> tuple[Result, Chosen]:
    from stages.commands.finished import finished

    with chdir(root):
        return finished(ref, "mini")


def test_the_head_is_what_the_hub_reads(exported: Export) -> None:
    top, _ = parts(exported("plain/tuned", licence="apache-2.0"))
    assert top == {
        "license": "apache-2.0",
        "datasets": ["math", "reasoning"],
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
        "tags": ["stages", "plain"],
    }


def test_a_licence_that_nobody_stated_is_not_made_up(exported: Export) -> None:
    top, _ = parts(exported("plain/tuned"))
    assert (top["license"], top["license_name"]) == ("other", "not-stated")


def test_the_licences_text_goes_along(exported: Export, tmp_path: Path) -> None:
    (tmp_path / "terms").write_text("Do as you like.\n")
    folder = exported("plain/tuned", licence="mine", terms=tmp_path / "terms")
    assert (folder / "LICENSE").read_text() == "Do as you like.\n"
    assert "  LICENSE\n" in (folder / "SHA256SUMS").read_text()


def test_lineage_budgets_rates_and_metrics_are_in_the_body(finished: Path, exported: Export) -> None:
    _, body = parts(exported("plain/tuned"))
    for ref in ("plain/tuned", "plain/base"):
        record = manifest.read(finished / "results/mini" / ref / "manifest.json")
        row = next(line for line in body.splitlines() if line.startswith(f"| {ref} |"))
        assert f"`{record.key}`" in row
        assert f"`{manifest.identity(record)}`" in row
        assert "2K tokens | 1e-3 → 1e-3 | bit-exact |" in row
    assert "| answer loss |" in body
    for corpus in ("math", "reasoning"):
        digest = manifest_of(finished / "results/mini/data" / corpus)
        assert f"| {corpus} | `{digest}` |" in body


def manifest_of(folder: Path) -> str:
    from stages.data.corpus.corpus_manifest import read_manifest

    return read_manifest(folder).digest


def test_what_holds_and_what_does_not(exported: Export) -> None:
    _, body = parts(exported("plain/tuned"))
    holds, does_not = body.split("## What holds")[1].split("## What does not hold")
    assert "- Reproducible: bit-exact: a rerun of the same keys" in holds
    assert "- No stand-in in the lineage\n" in holds
    assert "- Published: the base reads 2K tokens: 2K here" in holds
    assert "plain/base: training loss falls" in holds + does_not
    assert "- Trained at the published size: scale mini" in does_not


def test_a_total_that_was_not_read_does_not_hold(finished: Path) -> None:
    result, chosen = opened(finished, "plain/tuned")
    published = chosen.project.resolve("plain", "mini").claims
    more = [replace(one, tokens=10 * one.tokens) for one in published]
    judged = card.statements(result, lineage.lineage(result), more)
    assert [(one.holds, one.why) for one in judged if one.what.startswith("Published")] == [(False, "2K here")]


def test_an_ancestor_that_is_gone_is_named_as_gone(finished: Path, tmp_path: Path, exported: Export) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "project"))
    key = manifest.read(root / "results/mini/plain/base/manifest.json").key
    shutil.rmtree(root / "results/mini/plain/base")
    _, body = parts(exported("plain/tuned", root=root))
    assert f"| plain/base | `{key}` |" in body
    assert "- The whole lineage could be read: not in place: plain/base" in body.split("## What does not hold")[1]


def descends(root: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> Result:
    """A result whose lineage has these released models in it."""
    made = {
        name: RawReleaseFiles(
            release=name, source=f"somebody/{name}", revision="1", licence=f"of-{name}", architecture="X", digest="none"
        )
        for name in names
    }
    result, _ = opened(root, "plain/tuned")
    monkeypatch.setattr(lineage, "_released", lambda one: iter(names if one.ref == "plain/base" else ()))
    result.data.releases.update(made)
    return result


@pytest.mark.parametrize(
    ("names", "licence"),
    [
        (("llama",), {"license": "of-llama"}),
        (("llama", "siglip"), {"license": "other", "license_name": "of-llama-and-of-siglip"}),
    ],
)
def test_what_descends_from_a_release_has_its_licence(
    names: tuple[str, ...], licence: dict[str, str], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = descends(finished, monkeypatch, *names)
    top = head(result, Published(result.stage.modules), FACTS, lineage.lineage(result))
    assert {key: value for key, value in top.items() if key.startswith("license")} == licence
    assert top["base_model"] == [f"somebody/{name}" for name in names]


def test_and_no_other(finished: Path, exported: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    released = [RawReleaseFiles(
        release="llama", source="somebody/llama", revision="1", licence="theirs", architecture="X", digest="none"
    )]  # fmt: skip
    monkeypatch.setattr(lineage, "releases", lambda *_: released)
    with pytest.raises(UsageError, match=r"--licence: found 'mine'; allowed: nothing, .*somebody/llama.*theirs"):
        exported("plain/tuned", licence="mine")
