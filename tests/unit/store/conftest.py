from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.store import attempts, done, files, finish, json_file, manifest
from stages.store.layout import Layout
from tests.unit.store.watched import Watched

Run = Callable[..., str]
A = "a" * 32


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path, "mini")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched = Watched()
    monkeypatch.setattr(files, "disk", watched)
    yield watched
    assert watched.open_files == {}, "left open"


@pytest.fixture
def run(layout: Layout) -> Run:
    """Run a toy stage whose weights are `content`; returns the digest of its manifest."""

    def run_stage(ref: str, key: str, parents: dict[str, str] | None = None, content: bytes = b"weights") -> str:
        record = manifest.parents(layout, parents or {})
        with attempts.start(layout, ref, key, record) as attempt:
            (attempt.result / "model").mkdir()
            (attempt.result / "model" / "model.safetensors").write_bytes(content)
            json_file.write(attempt.result / "stage.json", {"scale": layout.scale})
            return finish.finish(attempt, toy_manifest(attempt))

    return run_stage


def verdict(where: Layout, ref: str = "toy/one", key: str = A, parents: dict[str, str] | None = None) -> done.Verdict:
    return done.is_done(where, ref, key, parents or {})


def toy_manifest(attempt: attempts.Attempt) -> manifest.Manifest:
    return manifest.Manifest(
        schema_version=1,
        stage=attempt.ref,
        key=attempt.key,
        tier="bit-exact",
        stand_in=False,
        parents=dict(attempt.parents),
        points_to=None,
        counters={"steps": 3, "tokens": 96},
        shards=manifest.shards(attempt.result, ["model", "state"]),
    )
