"""The text of rules/*.smk: one rule per stage, one per corpus; edges only, no numbers and no keys."""

from __future__ import annotations

import re
from pathlib import Path

from stages.data.spec import TOKENIZER
from stages.spec.resolved import Stage
from stages.sync.graph import Graph, rule_name

WRITTEN = "# Written by `stages sync` from "
HEAD = WRITTEN + "{source}; edit the specs instead.\n"


def pipeline_rules(graph: Graph, pipeline: str) -> str:
    """One rule per stage of a pipeline, and the rule that asks for all its stages, also those of what it extends."""
    stages = graph.pipelines[pipeline]
    parts = [HEAD.format(source=f"specs/{pipeline}")]
    needed = "".join(f'        done("{ref}"),\n' for ref in graph.members[pipeline])
    parts.append(f'\n\nrule {pipeline}:\n    input:\n{needed}        page("{pipeline}"),\n')
    for ref, stage in stages.items():
        parents = "".join(f'        done("{parent}", "{ref}"),\n' for parent in stage.needed)
        parents += "".join(f'        weights("{holder}", "{ref}"),\n' for holder in pointed_at(graph, stage))
        parts.append(
            f"\n\nuse rule stage as {rule_name(ref)} with:\n"
            f'    input:\n        checked("{ref}"),\n{parents}        corpora("{ref}"),\n'
            f'    output:\n        marker("{ref}"),\n'
            f'    params:\n        ref="{ref}",\n'
            f'    threads: thread_count("{ref}")\n'
            f'    priority: urgency("{ref}")\n'
            f'    resources:\n        **job_resources("{ref}"),\n'
        )
    return "".join(parts)


def pointed_at(graph: Graph, stage: Stage) -> tuple[str, ...]:
    """What has the weights behind those parents that are but pointers: no edge of the figure, yet to be in place."""
    found = list(stage.parents)
    for ref in found:  # grows on the way
        parent = graph.stages[ref]
        found += parent.parents if parent.kind == "keep" else ()
    return tuple(dict.fromkeys(ref for ref in found if ref not in stage.parents))


def data_rules(graph: Graph) -> str:
    """One rule per corpus; all that are not cut with a published tokenizer need the local one."""
    parts = [HEAD.format(source="specs/data")]
    for name in graph.corpora:
        alone = name == TOKENIZER or name in graph.by_published
        needs = "" if alone else f'    input:\n        prepared("{TOKENIZER}", "{name}"),\n'
        parts.append(
            f"\n\nuse rule corpus as {rule_name(name)} with:\n{needs}"
            f'    output:\n        data_marker("{name}"),\n'
            f'    params:\n        name="{name}",\n'
            f'    priority: urgency("{name}")\n'
            f'    resources:\n        **job_resources("{name}"),\n'
        )
    return "".join(parts)


def files(graph: Graph) -> dict[str, str]:
    """Every rules file by its path relative to the project."""
    texts = {f"rules/{pipeline}.smk": pipeline_rules(graph, pipeline) for pipeline in graph.pipelines}
    return {**texts, "rules/data.smk": data_rules(graph)}


def names(root: Path, pipeline: str) -> list[str]:
    """The rules of a pipeline that has none here, itself and its stages, as they were written when it could be read."""
    path = root / "rules" / f"{pipeline}.smk"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [pipeline, *re.findall(r"^use rule stage as (\w+) with:$", text, flags=re.MULTILINE)]
