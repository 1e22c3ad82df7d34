"""A pytest session of its own inside this process, so that torch is imported once."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

PLUGIN = "stages.testing.plugin"


class Session:
    """Sessions in a directory, with this plugin and no other, where no CI is set."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capture, self.patch = folder, capture, patch
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.delenv("CI", raising=False)
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.setattr("sys.dont_write_bytecode", True)

    def __call__(self, *words: str) -> tuple[int, str]:
        """The exit code and what was printed."""
        fixed = ["-p", PLUGIN, "-p", "no:cacheprovider", "--import-mode=importlib", f"--rootdir={self.folder}"]
        for path in self.folder.glob("*.py"):
            sys.modules.pop(path.stem, None)
        self.capture.readouterr()
        gc.freeze()  # a session collects garbage twice, and would search all of torch each time
        code = pytest.main([*fixed, *words])
        gc.unfreeze()
        said = self.capture.readouterr()
        return int(code), said.out + said.err

    def update(self, *words: str) -> tuple[int, str]:
        return self(*words, "--stages-update", "--stages-reason", "as it should be")
