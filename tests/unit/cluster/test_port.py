"""The port on which ranks meet stays theirs until the first rank has come to it."""

from __future__ import annotations

import socket
import sys

import pytest

from stages.engines import local


def test_a_port_is_given_to_nobody_else_before_the_first_rank_listens_there() -> None:
    with local.free_port() as port, socket.create_server(("", port)) as server:  # as torch does, with SO_REUSEADDR
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
        assert server.getsockname()[1] == port


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the port cannot be held")
def test_who_asks_for_the_port_without_sharing_it_is_refused() -> None:
    with local.free_port() as port, socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
