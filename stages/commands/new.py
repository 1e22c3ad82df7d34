"""`stages new NAME --from PIPELINE`: a pipeline of one's own that extends another."""

from __future__ import annotations

import re
import shutil

from stages.commands.open import open_project
from stages.errors import UsageError
from stages.spec.project import Project
from stages.store.files import write_atomic

TEXT = """# Extends {base}: every stage that has no file here is {base}'s, and is not run again.
# Copy specs/{base}/<stage>.yaml to this folder and change it; mark what you changed as `chosen` under sources.
pipeline: {name}
title: {name}, from {base}
citation: none, our own
figure: none
extends: {base}
"""


def create(name: str, base: str) -> None:
    """Write specs/NAME/pipeline.yaml; nothing stays behind when what was written does not load."""
    root, project = open_project("mini")
    known = project.pipelines(readings=True)
    if base not in known:
        raise UsageError(f"--from: found {base!r}; allowed: {', '.join(known)}.")
    folder = root / "specs" / name
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or "__" in name:
        raise UsageError(f"NAME: found {name!r}; allowed: small letters, digits and single underscores.")
    if folder.exists() or name in ("data", "scales", "hardware"):
        raise UsageError(f"NAME: specs/{name} is there already; choose another name.")
    try:
        write_atomic(folder / "pipeline.yaml", TEXT.format(name=name, base=base).encode())
        Project.load(root).resolve(name, "mini")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    print(f"wrote specs/{name}/pipeline.yaml. Copy a stage's file from specs/{base}, change it, then `stages sync`.")
