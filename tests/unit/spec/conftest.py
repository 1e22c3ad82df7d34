from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.spec import small_project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_project.write(tmp_path)
