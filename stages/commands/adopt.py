"""`stages adopt PATH... --as NAME`: a recipe of another trainer as specs of this project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from stages.audit import run
from stages.audit.adopt_specs import Specs, specs
from stages.commands import new_specs
from stages.commands.audit import many
from stages.commands.open import find_root
from stages.errors import UserError
from stages.spec.project import Project

MIXTURES, PUBLISHED = "data/mixtures.yaml", "data/published.yaml"


def adopt(paths: list[Path], name: str) -> int:
    """Write the specs; nothing stays behind when what was written does not load."""
    root = find_root()
    project = Project.load(root)
    folder = root / "specs"
    new_specs.check_name("--as", name, folder, (folder / "scales" / f"{name}.yaml",))
    local = {str(kind): one for one, kind in sorted(project.data.kinds.items(), reverse=True)
             if one not in project.data.published.corpora}  # fmt: skip
    if "text" not in local:
        raise UserError("adopted corpora need a local one of text to stand in for them: see docs/data.md.")
    pipeline = run.read(paths)
    place = " ".join(one.name or str(one) for one in paths)
    _written(folder, specs(pipeline, name, place, {"sft": local["text"], **local}))
    found = run.findings(pipeline)
    counts = f"{many(len(pipeline.stages), 'stage')}, {many(len(pipeline.edges), 'hand-over')}"
    print(f"wrote specs/{name}: {counts}, and a scale of this name.")
    if found:
        print(f"The recipe has {many(len(found), 'finding')}, which come with it: `stages audit` names them.")
    print(f"Then: stages check {name} --scale {name}, which lists what the recipe does not say (S-13).")
    return 0


def _written(folder: Path, made: Specs) -> None:
    """All files or none: what was there is put back where the project would not load."""
    texts = {path: text for path, text in made.files.items() if not (folder / path).exists()}
    texts[MIXTURES] = _with(folder / MIXTURES, "mixtures", made.mixtures, made.mixture_sources)
    texts[PUBLISHED] = _with(folder / PUBLISHED, "corpora", made.corpora, [])
    new_specs.write(folder, texts, partial(_load, folder.parent, texts))


def _load(root: Path, texts: Mapping[str, str]) -> None:
    project = Project.load(root)
    for pipeline in {path.partition("/")[0] for path in texts if path.endswith("/pipeline.yaml")}:
        project.resolve(pipeline, pipeline)


def _with(path: Path, key: str, entries: list[str], sources: list[str]) -> str:
    """A file of data with further entries below its key and `sources:`; nothing else of it changes."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else [f"{key}:"]
    for word, more in ((key, entries), ("sources", sources)):
        place = next((n for n, line in enumerate(lines) if re.match(rf"{word}:\s*(#.*)?$", line)), None)
        if more and place is None:
            if any(line.startswith(f"{word}:") for line in lines):
                raise UserError(f"{path}: `{word}:` is not written as a block, one entry a line; write it so.")
            lines.append(f"{word}:")
            place = len(lines) - 1
        if more and place is not None:
            lines[place + 1 : place + 1] = more
    return "\n".join(lines) + "\n"
