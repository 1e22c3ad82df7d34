"""A headless Chromium for tests of pages, driven over WebDriver's HTTP interface; nothing is loaded from a network."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--disable-dev-shm-usage",
)  # fmt: skip


class Browser:
    """One window."""

    def __init__(self, driver: str, session: str) -> None:
        self.base = f"{driver}/session/{session}"

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """The window's size in CSS pixels, a phone's too, and which colours the reader prefers."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.cdp("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.cdp("Emulation.setEmulatedMedia", {"features": features})

    def open(self, page: Path) -> None:
        """Load a file."""
        ask(f"{self.base}/url", {"url": page.as_uri()})

    def script(self, text: str) -> Any:
        """What a script returns."""
        return ask(f"{self.base}/execute/sync", {"script": text, "args": []})

    def errors(self) -> list[str]:
        """What the console said since the last time: errors and warnings."""
        said = ask(f"{self.base}/se/log", {"type": "browser"})
        return [line["message"] for line in said if line["level"] in ("SEVERE", "WARNING")]

    def cdp(self, command: str, params: dict[str, Any]) -> Any:
        """A command of the DevTools protocol."""
        return ask(f"{self.base}/goog/cdp/execute", {"cmd": command, "params": params})

    def picture(self, path: Path, height: int | None = None, top: int = 0) -> None:
        """A screenshot of the page from `top`, down to its end or of a height."""
        width = self.script("return document.documentElement.clientWidth")
        full = self.script("return document.documentElement.scrollHeight")
        clip = {"x": 0, "y": top, "width": width, "height": min(height or full, full - top), "scale": 1}
        shot = self.cdp("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))


def ask(url: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    """One request to the driver, on this machine."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return json.load(answer)["value"]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A window with a new, empty profile; the driver and the browser end with the block."""
    assert DRIVER is not None
    assert CHROMIUM is not None
    started = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert started.stdout is not None
    try:
        port = next(found[1] for line in started.stdout if (found := re.search(r"successfully on port (\d+)", line)))
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        capabilities = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        driver = f"http://127.0.0.1:{port}"
        session = ask(f"{driver}/session", {"capabilities": {"alwaysMatch": capabilities}})["sessionId"]
        try:
            yield Browser(driver, session)
        finally:
            with suppress(OSError):
                ask(f"{driver}/session/{session}", method="DELETE")
    finally:
        started.terminate()
        started.wait(10)
        started.stdout.close()
