"""README.md of an export: the model card, with the YAML head that the hub reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from stages.contract.parameters import parameters
from stages.contract.rope import is_scaled
from stages.engines.card import warnings
from stages.export import lineage
from stages.export.lineage import Ancestor
from stages.export.names import Published
from stages.export.result import Result
from stages.printable import markdown_table, printable
from stages.report import gates
from stages.report.headlines import MEASURES, VALIDATION
from stages.report.number_format import count, length
from stages.spec.claims import Claim
from stages.spec.language_model import LanguageModel
from stages.store import evaluated

NO_LICENCE = {"license": "other", "license_name": "not-stated"}
USE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({folder!r}{code})
model = AutoModelForCausalLM.from_pretrained({folder!r}, dtype="auto"{code})
messages = [{{"role": "user", "content": "What is 12 + 30?"}}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
reply = model.generate(**inputs, max_new_tokens=32)
print(tokenizer.decode(reply[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```"""
TIERS = {
    "bit-exact": "a rerun of the same keys in the same environment gives the same bits",
    "same-order": "a rerun reads the same samples at the same learning rates; losses agree within rounding",
    "statistical": "a rerun agrees up to the spread between seeds",
}


@dataclass(frozen=True)
class Facts:
    """What the card says besides what the result says itself."""

    dtype: str  # of the weights, as config.json names it
    licence: str | None  # of a model without a released one in its lineage
    claims: Sequence[Claim]  # published totals of its pipeline
    remote_code: bool  # whether transformers needs the folder's own modelling code
    chat: bool  # whether there is a chat template
    folder: str


def card(result: Result, published: Published, facts: Facts) -> str:
    """The whole card, in Markdown."""
    ancestors = lineage.lineage(result)
    stage = result.stage
    parts = [
        f"---\n{yaml.safe_dump(head(result, published, facts, ancestors), sort_keys=False, allow_unicode=True)}---",
        f"# {stage.box} ({result.ref}, scale {stage.scale})",
        *warnings(stage, result.record.stand_in),
        _model(result, facts),
        "## Use\n\n" + USE.format(folder=facts.folder, code=", trust_remote_code=True" if facts.remote_code else "")
        if facts.chat
        else "",
        _lineage(ancestors),
        _data(ancestors),
        _metrics(ancestors),
        _claims(statements(result, ancestors, facts.claims)),
        "SHA256SUMS has the digest of every file: `sha256sum --check SHA256SUMS`.",
    ]
    return printable("\n\n".join(part for part in parts if part)) + "\n"


def head(result: Result, published: Published, facts: Facts, ancestors: list[Ancestor]) -> dict[str, Any]:
    """The YAML head: licence, base model, datasets, task, library."""
    released = lineage.releases(result, ancestors)
    if released:
        names = dict.fromkeys(one.licence for one in released)
        terms: Mapping[str, Any] = {"license": next(iter(names))} if len(names) == 1 else {
            "license": "other", "license_name": "-and-".join(names)
        }  # fmt: skip
    else:
        terms = NO_LICENCE if facts.licence is None else {"license": facts.licence}
    made: dict[str, Any] = dict(terms)
    if released:
        made["base_model"] = [one.source for one in released]
    return made | {
        "datasets": list(lineage.corpora(ancestors)),
        "pipeline_tag": published.task,
        "library_name": "transformers",
        "tags": ["stages", result.stage.pipeline],
    }


def _model(result: Result, facts: Facts) -> str:
    stage = result.stage
    counted = [(name, parameters(cfg)) for name, cfg in stage.modules.items()]
    lines = [f"- {name}: {stage.modules[name].family}, {count(one.total)} parameters" for name, one in counted]
    lines += [
        f"- weights: {facts.dtype}",
        f"- longest context trained under the current RoPE: {length(stage.max_context)} tokens",
        f"- seed {stage.seed}, computed in {stage.engine_class}",
    ]
    read = next((cfg.PUBLISHED.scaled for cfg in stage.modules.values() if isinstance(cfg, LanguageModel)), "")
    if read and stage.rope is not None and is_scaled(stage.rope):
        lines.append(f"- scaled rotary positions: {read}")
    if facts.remote_code:
        lines.append("- modelling code: in this folder, `trust_remote_code=True` runs it")
    return "## Model\n\n" + "\n".join(lines)


def _lineage(ancestors: Sequence[Ancestor]) -> str:
    rows = []
    for one in ancestors:
        kind, tier = (one.result.stage.kind, one.result.manifest.tier) if one.result else ("not in place here", "")
        digests = f"`{one.made.key}`", f"`{one.made.manifest}`"
        rows.append((one.ref, *digests, kind, one.budget, one.learning_rate, tier))
    titles = ("stage", "key", "manifest (blake3)", "kind", "budget", "learning rate", "tier")
    return "## Lineage\n\n" + markdown_table(titles, rows)


def _data(ancestors: list[Ancestor]) -> str:
    rows = [(name, f"`{digest}`") for name, digest in lineage.corpora(ancestors).items()]
    return "## Data\n\n" + markdown_table(("corpus", "digest (blake3)"), rows) if rows else ""


def _metrics(ancestors: Sequence[Ancestor]) -> str:
    """The evaluations of the nearest stage that has some."""
    nearest = next((one for one in ancestors if one.result is not None and one.result.after), None)
    if nearest is None or nearest.result is None:
        return ""
    before, after = nearest.result.before, nearest.result.after
    rows = [
        (one.label, one.text(before[one.name]) if one.name in before else "", one.text(after[one.name]))
        for one in (VALIDATION, *MEASURES)
        if one.name in after
    ]
    rows += [(name, "", f"{value:.6g}") for name, value in after.items() if name.startswith(f"{evaluated.OUTSIDE}.")]
    return f"## Metrics\n\nHeld-out documents, of {nearest.ref}.\n\n" + markdown_table(
        ("measure", "before", "after"), rows
    )


def _claims(found: Sequence[Statement]) -> str:
    def listed(holds: bool) -> str:
        return "\n".join(f"- {one.what}{f': {one.why}' if one.why else ''}" for one in found if one.holds is holds)

    rest = listed(False)
    return "## What holds\n\n" + listed(True) + (f"\n\n## What does not hold\n\n{rest}" if rest else "")


@dataclass(frozen=True)
class Statement:
    """One claim, and whether it is true."""

    what: str
    holds: bool
    why: str


def statements(result: Result, ancestors: Sequence[Ancestor], published: Sequence[Claim]) -> list[Statement]:
    """Claims about the lineage: reproducibility, released weights, the size of a recipe, gates, published totals."""
    record, stage = result.record, result.stage
    absent = [one.ref for one in ancestors if one.result is None]
    found = [
        Statement(f"Reproducible: {record.tier}", True, TIERS[record.tier]),
        Statement(
            "The whole lineage could be read", not absent, f"not in place: {', '.join(absent)}" if absent else ""
        ),
        Statement(
            "No stand-in in the lineage",
            not record.stand_in,
            "released weights were replaced by a model trained from scratch" if record.stand_in else "",
        ),
        Statement(
            "Trained at the published size",
            stage.scale == "paper",
            "" if stage.scale == "paper" else f"scale {stage.scale}: it shows that the recipe runs, not what it gives",
        ),
    ]
    judged = gates.judge(one.result for one in reversed(ancestors) if one.result is not None)
    found += [
        Statement(f"{gate.stage}: {gate.name}", gate.passed, f"{gate.found}; needed: {gate.needed}") for gate in judged
    ]
    return found + [one for claim in published if (one := _total(claim, ancestors)) is not None]


def _total(claim: Claim, ancestors: Sequence[Ancestor]) -> Statement | None:
    """A published total of tokens, if it is of stages of this lineage only; with what was trained on here."""
    by_name = {one.result.stage.name: one.result.stage for one in ancestors if one.result is not None}
    if not set(claim.stages) <= by_name.keys():
        return None
    read = sum(by_name[name].budget for name in claim.stages)
    holds = abs(read - claim.tokens) <= claim.rounding
    return Statement(f"Published: {claim.what}", holds, f"{count(read)} here")
