"""`stages list | show | schema`: reading, nothing else."""

from __future__ import annotations

import json

from stages.commands.open import open_project, pick
from stages.sync import graph


def print_list(scale: str, as_json: bool) -> None:
    """Pipelines with their titles, stages, kinds and parents."""
    _, project = open_project(scale)
    listed = []
    for pipeline in project.pipelines(readings=True):
        resolved = project.resolve(pipeline, scale)
        stages = [
            {"stage": name, "kind": stage.kind, "box": stage.box, "parents": list(stage.parents)}
            for name, stage in resolved.stages.items()
            if name in resolved.own
        ]
        listed.append({"pipeline": pipeline, "title": resolved.title, "extends": resolved.extends, "stages": stages})
    if as_json:
        print(json.dumps(listed, indent=2))
        return
    for entry in listed:
        extends = f" (extends {entry['extends']})" if entry["extends"] else ""
        print(f"{entry['pipeline']}: {entry['title']}{extends}")
        for stage in entry["stages"]:  # type: ignore[union-attr]
            after = f"  <- {', '.join(stage['parents'])}" if stage["parents"] else ""  # type: ignore[index]
            print(f"  {stage['stage']:<24} {stage['kind']:<8} {stage['box']}{after}")  # type: ignore[index]


def print_stage(ref: str, scale: str, as_json: bool) -> None:
    """A stage with every value it will be run with, and its key."""
    import yaml

    root, project = open_project(scale)
    loaded = graph.load(root, project, scale)
    stage = pick(loaded.stages, ref)
    shown = {"key": loaded.keys[ref], **stage.model_dump(mode="json")}
    print(json.dumps(shown, indent=2) if as_json else yaml.safe_dump(shown, sort_keys=False, width=120), end="")


def print_schema() -> None:
    """The JSON Schemas of the spec files in one object."""
    from stages.spec.json_schema import json_schemas

    print(json.dumps(json_schemas(), indent=2, sort_keys=True))
