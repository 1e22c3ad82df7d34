"""`stages adopt PATH... --as NAME`: a recipe of another trainer as specs of this project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import yaml

from stages.audit import run
from stages.audit.adopt.page import Specs
from stages.audit.adopt.specs import specs
from stages.audit.run import many
from stages.audit.tuning import adoptable
from stages.commands import new_specs
from stages.commands.find_project import find_root
from stages.errors import InvalidSpecs, SpecError, UserError, page
from stages.spec.project import Project

MIXTURES, PUBLISHED = "data/mixtures.yaml", "data/published.yaml"


def adopt(paths: list[Path], name: str) -> int:
    """Write the specs; nothing stays behind when what was written does not load.

    Raises UserError where no run can be a stage, or the specs would not load.
    """
    root = find_root()
    project = Project.load(root)
    folder = root / "specs"
    new_specs.check_name("--as", name, folder, (folder / "scales" / f"{name}.yaml",))
    local = {str(kind): one for one, kind in sorted(project.data.kinds.items(), reverse=True)
             if one not in project.data.published.corpora}  # fmt: skip
    if "text" not in local:
        raise UserError(f"adopted corpora need a local one of text to stand in for them: see {page('data')}.")
    everything = run.read(paths)
    pipeline, left_out = adoptable(everything)
    place = " ".join(one.name or str(one) for one in paths)
    made = specs(pipeline, name, place, {"sft": local["text"], **local})
    narrowed = _narrowed(project, folder)
    _written(folder, made, narrowed)
    found = run.findings(everything)
    counts = f"{many(len(pipeline.stages), 'stage')}, {many(len(pipeline.edges), 'hand-over')}"
    print(f"wrote specs/{name}: {counts}, and a scale of this name.")
    for note in [*left_out, *made.notes]:
        print(f"{note}.")
    for path in narrowed:
        print(
            f"specs/{path}: its `pipelines` names those that were at this scale, since {name} has a scale of its own."
        )
    if found:
        print(f"The recipe has {many(len(found), 'finding')}, which come with it: `stages audit` names them.")
    print(f"Then: stages check {name} --scale {name}, which lists what the recipe does not say (S-13).")
    return 0


def _narrowed(project: Project, folder: Path) -> dict[str, str]:
    """Scales at which every pipeline is at its own size: their files, with the pipelines that are there named.

    A recipe's own size would be run there too, on another machine and with stand-ins that are too small for it.
    """
    found = {}
    for scale in project.scales():
        path = f"scales/{scale}.yaml"
        text = (folder / path).read_text(encoding="utf-8")
        here = ", ".join(f"{one}: identity" for one in project.pipelines(variants=False, scale=scale))
        place = _identity(text)
        if here and place is not None:
            found[path] = text[: place[0]] + f"{{{here}}}" + text[place[1] :]
    return found


def _identity(text: str) -> tuple[int, int] | None:
    """Where `identity` stands as the whole of `pipelines`, in whatever spelling of YAML."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    for key, value in pairs:
        if key.value == "pipelines" and value.value == "identity":
            return value.start_mark.index, value.end_mark.index
    return None


def _written(folder: Path, made: Specs, others: Mapping[str, str]) -> None:
    """All files or none: what was there is put back where the project would not load."""
    texts = {path: text for path, text in made.files.items() if not (folder / path).exists()} | dict(others)
    texts[MIXTURES] = _with(folder / MIXTURES, "mixtures", made.mixtures, made.mixture_sources)
    texts[PUBLISHED] = _with(folder / PUBLISHED, "corpora", made.corpora, [])
    try:
        new_specs.write(folder, texts, partial(_load, folder.parent, texts))
    except InvalidSpecs as wrong:
        raise UserError("\n".join(_taken_back(one, texts) for one in wrong.errors)) from None


def _taken_back(error: SpecError, texts: Mapping[str, str]) -> str:
    """Why specs do not load that are not there any more: the message at the place."""
    lines = texts.get(error.where.file.removeprefix("specs/"), "").splitlines()
    line = f", `{lines[error.where.line - 1].strip()}`" if 0 < error.where.line <= len(lines) else ""
    return (
        f"nothing was written: {error.where.file} would not load at line {error.where.line}{line}: found {error.found};"
        f" allowed: {error.allowed}. State it in the recipe, or write this pipeline by hand ({page('spec-format')})."
    )


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
