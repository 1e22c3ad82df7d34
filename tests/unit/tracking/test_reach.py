"""A server that does not answer is named once, for all stages, before a library tries it again and again."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from stages.commands.track import track
from stages.spec.project import Project
from stages.store.layout import Layout
from stages.tracking import backends, reach, settings
from stages.tracking.run import Run
from tests.unit.spec import small_project
from tests.unit.tracking.test_follow import rows

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def chosen(uri: str) -> settings.RawTracking:
    return settings.RawTracking(mlflow=settings.RawMlflow(uri=uri, experiment="e"))


def closed_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


class Refusing(BaseHTTPRequestHandler):
    """Wants another method, or a password: it answers."""

    def log_message(self, *_: object) -> None:
        pass


def test_a_port_at_which_nothing_listens_is_named_and_a_server_that_refuses_is_not() -> None:
    uri = f"http://127.0.0.1:{closed_port()}"
    assert reach.no_answer(chosen(uri), "mlflow") == (
        f"{uri}: Connection refused. Start that server, or correct `uri` in tracking.yaml."
    )
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.handle_request).start()
        assert reach.no_answer(chosen(f"http://127.0.0.1:{server.server_port}/path"), "mlflow") is None


def test_a_server_that_accepts_connections_and_answers_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert str(reach.no_answer(chosen(uri), "mlflow")).startswith(f"{uri}: no answer within 0.2 s. Start")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_of_a_server_that_speaks_another_protocol_the_library_says_what_it_makes(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            other, _ = server.accept()
            with other:
                other.recv(1024)
                other.sendall(b"220 mail.example ESMTP\r\n")

        Thread(target=answer).start()
        assert reach.no_answer(chosen(f"{scheme}://127.0.0.1:{server.getsockname()[1]}"), "mlflow") is None


@pytest.mark.parametrize(
    "uri", ["mlruns", "file:///tmp/runs", "sqlite:///a.db", "databricks", "http://host:port", "http://"]
)
def test_of_a_folder_and_of_what_is_no_address_nothing_is_said(uri: str) -> None:
    assert reach.no_answer(chosen(uri), "mlflow") is None


def test_nor_of_a_server_behind_a_proxy_or_of_another_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"http://127.0.0.1:{closed_port()}"
    assert reach.no_answer(chosen(uri), "wandb") is None
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    assert reach.no_answer(chosen(uri), "mlflow") is None
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert reach.no_answer(chosen(uri), "mlflow") is not None


@pytest.mark.parametrize("host", ["x" * 70 + ".example", "no-such-host.invalid"])
def test_a_name_that_no_host_has_is_named(host: str) -> None:
    assert str(reach.no_answer(chosen(f"https://{host}"), "mlflow")).startswith(f"https://{host}: ")


def test_the_command_names_the_server_once_and_asks_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small_project.write(tmp_path))
    monkeypatch.setattr(settings, "find_spec", lambda name: object())
    monkeypatch.setattr(backends, "make", lambda *_: pytest.fail("a library was asked"))
    uri = f"http://127.0.0.1:{closed_port()}"
    (tmp_path / settings.FILE).write_text(f"mlflow: {{uri: '{uri}', experiment: e}}\n")
    assert track((), "mini") == 0, "nothing is to be sent"
    capsys.readouterr()
    keys = Project.load(tmp_path).keys("mini")
    for ref in ("toy/first", "toy/second"):
        rows(Run(Layout(tmp_path, "mini"), ref, keys[ref]), 1, range(1, 4))
    assert track((), "mini") == 1
    assert capsys.readouterr().out == f"2 stages: not sent: mlflow: {reach.no_answer(chosen(uri), 'mlflow')}\n"
