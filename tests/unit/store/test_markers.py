"""Markers: made for what is done, removed for what is not, and what Snakemake awaits has to be one of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stages.errors import UserError
from stages.store import files, markers
from stages.store.layout import Layout
from tests.unit.store.conftest import A

B = "b" * 32


def test_a_marker_is_an_empty_file_and_one_that_is_there_stays_as_it_is(layout: Layout) -> None:
    marker = layout.marker("toy/one", A)
    markers.place(marker)
    assert marker.read_bytes() == b""
    os.utime(marker, (1, 1))
    markers.place(marker)  # which a disk that is read-only by now allows
    assert marker.stat().st_mtime == 1


def test_what_snakemake_awaits_is_what_would_be_made(layout: Layout) -> None:
    marker = layout.marker("toy/one", A)
    markers.expect(None, marker, "toy/one")
    markers.expect(Path("elsewhere") / marker.name, marker, "toy/one")
    with pytest.raises(UserError) as caught:
        markers.expect(layout.marker("toy/one", B), marker, "toy/one")
    assert str(caught.value) == (
        f"toy/one: edited, or something before it, since Snakemake was started: it awaits one.{B}, and now this would "
        f"be one.{A}. Nothing was run. Start Snakemake again for what the specs say now."
    )


def test_exactly_what_is_done_has_a_marker_and_nothing_but_folders_is_looked_into(
    layout: Layout, tmp_path: Path
) -> None:
    kept, gone, new = (layout.marker(ref, A) for ref in ("toy/kept", "toy/gone", "other/new"))
    for marker in (kept, gone):
        markers.place(marker)
    kept.write_bytes(b"as it was")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a").touch()
    (layout.markers / "link").symlink_to(elsewhere)
    (layout.markers / "file").touch()
    markers.refresh(layout, [kept, new])
    assert (kept.read_bytes(), gone.exists(), new.exists()) == (b"as it was", False, True)
    assert (elsewhere / "a").exists()
    assert (layout.markers / "file").exists()


def test_a_disk_that_refuses_is_told_of_by_the_marker(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    marker = layout.marker("toy/one", A)
    markers.place(marker)
    with monkeypatch.context() as patch:
        patch.setattr(files.disk, "unlink", refuse)
        with pytest.raises(files.WriteError, match=f"one.{A}: cannot be written"):
            markers.refresh(layout, [])
    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(files.WriteError, match=f"two.{A}: cannot be written"):
        markers.place(layout.marker("toy/two", A))
