"""A project with a tiny tokenizer and tiny corpora, prepared once for all tests of this folder."""

from __future__ import annotations

import pytest

from tests.unit.data.small import Small, build


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return build(tmp_path_factory.mktemp("project"))
