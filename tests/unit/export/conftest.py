from __future__ import annotations

from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from stages.commands.export import export
from tests.unit.export import project as projects

Export = Callable[..., Path]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages are done; tests that change it copy it."""
    return projects.write(tmp_path_factory.mktemp("exported"))


@pytest.fixture
def exported(finished: Path, tmp_path: Path) -> Export:
    """Type `stages export`: a stage of the finished project, with options."""

    def write(ref: str, dtype: str | None = "fp32", shard: str = "5GB", root: Path = finished, **more: Any) -> Path:
        folder = Path(str(more.pop("folder", tmp_path / "export")))
        with chdir(root):
            export(ref, folder, "mini", dtype, shard, **{"licence": None, "terms": None, **more})
        return folder

    return write
