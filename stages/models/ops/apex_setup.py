"""Apex's own setup.py, building only the extensions that are used. Run by `apex_build` in Apex's source folder."""

from __future__ import annotations

import runpy
from typing import Any

import setuptools

from stages.models.ops.apex_build import USED


def main() -> None:
    """Run ./setup.py with the arguments given, as itself."""
    original = setuptools.setup

    def setup(**fields: Any) -> Any:
        chosen = [extension for extension in fields["ext_modules"] if extension.name in USED]
        if missing := set(USED) - {extension.name for extension in chosen}:
            raise SystemExit(f"apex: this setup.py does not build {', '.join(sorted(missing))}")
        return original(**fields | {"ext_modules": chosen})

    setuptools.setup = setup
    runpy.run_path("setup.py", run_name="__main__")


if __name__ == "__main__":
    main()
