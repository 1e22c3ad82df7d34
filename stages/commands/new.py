"""`stages new NAME --from PIPELINE`: a pipeline of one's own that extends another."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from stages.commands import new_specs
from stages.commands.find_project import find_root, loaded_with_scales
from stages.errors import UsageError
from stages.spec.project import Project
from stages.spec.validate import near

TEXT = """\
# yaml-language-server: $schema=../../.schemas/pipeline_variant.json
# {name} extends {base}: a stage that comes out as {base}'s has no rule here and is not run twice.
#
# To change a stage, write specs/{name}/<stage>.yaml: `stage: <stage>`, the keys that differ, and `sources:` for them.
# Mappings are merged; a list such as `phases:` is replaced whole, so copy it from specs/{base}/<stage>.yaml first.
# To change a learning rate, take its schedule, and the sources, out of the comment at the end of this file.
# Then: stages check && stages sync && snakemake -n {name}
pipeline: {name}
title: {name}, from {base}
citation: none
figure: none
extends: {base}

{schedules}#
# sources:
#   - {{covers: [schedules], mark: chosen, reason: why you chose these numbers}}
"""


def create(name: str, base: str) -> None:
    """Write specs/NAME/pipeline.yaml; nothing stays behind when what was written does not load."""
    root = find_root()
    project = loaded_with_scales(root)
    known = project.pipelines(variants=True)
    if base not in known:
        hint = near(base.partition("/")[0], known)
        raise UsageError(f"--from: found {base!r}; allowed: {', '.join(known)}. {hint}".rstrip())
    new_specs.check_name("NAME", name, root / "specs")
    text = TEXT.format(name=name, base=base, schedules=_schedules(project, base))
    new_specs.write(root / "specs", {f"{name}/pipeline.yaml": text}, partial(_load, root, name))
    print(
        f"wrote specs/{name}/pipeline.yaml. It changes nothing yet; its comments say how to change a stage or a rate."
    )
    print(f"Then: stages check && stages sync && snakemake -n {name}")


def _load(root: Path, name: str) -> None:
    made = Project.load(root)
    for scale in sorted(made.scales_of(name), key=lambda one: one != "mini")[:1]:
        made.resolve(name, scale)


def _schedules(project: Project, base: str) -> str:
    """The schedules of a pipeline as they stand in its file or in what it extends, as comments."""
    name: str | None = base
    while name:
        path = project.files.specs / name / "pipeline.yaml"
        document = project.files.document(path)
        if ("schedules",) in document.places:
            starts = sorted(document.where((key,)).line for key in document.value)
            first = document.where(("schedules",)).line
            last = next((line for line in starts if line > first), None)
            lines = path.read_text(encoding="utf-8").splitlines()[first - 1 : last and last - 1]
            return "".join(f"# {line}".rstrip() + "\n" for line in "\n".join(lines).rstrip().splitlines())
        name = document.value.get("extends")
    return ""
