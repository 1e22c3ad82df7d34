"""One cluster for all tests of a worker; each test finds it idle. See cluster.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, missing, start


@pytest.fixture(scope="session")
def _one_cluster() -> Iterator[Cluster]:
    if reason := missing():
        pytest.skip(reason)
    with start() as cluster:
        yield cluster


@pytest.fixture
def cluster(_one_cluster: Cluster) -> Iterator[Cluster]:
    """Two idle nodes, n1 and n2, of 4 CPUs, 8000 MB and two pretend GPUs each; partitions main and urgent."""
    yield _one_cluster
    _one_cluster.clear()
