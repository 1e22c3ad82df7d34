"""A stage's key is changed by every identity field and by nothing else, whatever fields there are.

The fields are found by walking the resolved values of the shipped specs, so that one that is added tomorrow is tried
without a line here; a resolved class that no shipped stage has, or a field that is null everywhere, is reported.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.spec.frozen import Frozen
from stages.spec.key import identity, stage_key
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import LmEval, Share, Stage
from stages.spec.resolved_phases import Preference
from stages.spec.resolved_training import Group, Skip
from tests import shipped
from tests.families import test_yarn

ROOT = Path(__file__).resolve().parents[2]
PROJECT = shipped.project()
Field = tuple[str, str]  # class, field
Step = str | int


class ParentKeys(dict[str, str]):
    """Some key for every parent, another for another name."""

    def __missing__(self, ref: str) -> str:
        return f"key of {ref}"


def stages() -> list[Stage]:
    """Every stage of the shipped specs, at full size and as a miniature."""
    return [
        stage
        for scale in ("paper", "mini")
        for pipeline in PROJECT.pipelines(variants=True)
        for stage in PROJECT.resolve(pipeline, scale).stages.values()
    ]


def walk(value: Any, at: tuple[Step, ...] = (), counts: bool = True) -> Iterator[tuple[Field, tuple[Step, ...], bool]]:
    """((class, field), path, whether it belongs to the key) of every field at every depth."""
    if isinstance(value, Frozen):
        outside = value.EXECUTION_FIELDS | value.DESCRIPTIVE_FIELDS
        for name in type(value).model_fields:
            inside = counts and name not in outside
            yield (type(value).__name__, name), (*at, name), inside
            yield from walk(getattr(value, name), (*at, name), inside)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from walk(one, (*at, key), counts)
    elif isinstance(value, tuple):
        for place, one in enumerate(value):
            yield from walk(one, (*at, place), counts)


def at(value: Any, path: tuple[Step, ...]) -> Any:
    for part in path:
        value = getattr(value, str(part)) if isinstance(value, Frozen) else value[part]
    return value


def changed(value: Any, path: tuple[Step, ...]) -> Any:
    """The value with what stands at the path made another; no validation, since only the key is asked."""
    if not path:
        return other(value)
    first, rest = path[0], path[1:]
    if isinstance(value, Frozen):
        return value.model_copy(update={str(first): changed(getattr(value, str(first)), rest)})
    if isinstance(value, dict):
        return {key: changed(one, rest) if key == first else one for key, one in value.items()}
    return tuple(changed(one, rest) if place == first else one for place, one in enumerate(value))


def other(value: Any) -> Any:
    """A value of the same type that differs, as little as it can."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * (1 + 2**-52) if value else 5e-324
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, tuple):
        return value[:-1] if value else ("x",)
    if isinstance(value, dict):
        return {f"{key}x": one for key, one in value.items()}
    return None if isinstance(value, Frozen) else 1


def below(cls: type[Frozen]) -> Iterator[type[Frozen]]:
    """The package's own classes that are derived from this one, at every depth."""
    for one in cls.__subclasses__():
        if one.__module__.startswith("stages."):
            yield one
        yield from below(one)


def of_every_family() -> Iterator[Stage]:
    """A stage with a model of each family that no shipped spec has, from the family's own test."""
    stage = PROJECT.resolve("llama31_1m", "mini").stages["base"]
    for file in sorted((ROOT / "tests/families").glob("test_*.py")):
        for one in vars(importlib.import_module(f"tests.families.{file.stem}")).values():
            if isinstance(model := getattr(one, "MODEL", None), LanguageModel):
                yield stage.model_copy(update={"modules": {"llm": model}})


def with_yarn() -> Stage:
    """A stage with the scaling of positions that no shipped spec has."""
    stage = PROJECT.resolve("llama31_1m", "mini").stages["base"]
    return stage.model_copy(update={"rope": test_yarn.rope(test_yarn.YARNS["two mscales"])})


def with_the_harness() -> Stage:
    """A stage that asks lm-evaluation-harness for tasks, as no shipped spec does."""
    stage = PROJECT.resolve("llama31_1m", "mini").stages["base"]
    asked = LmEval(tasks=("arc_easy",), limit=100, folder="tasks")
    return stage.model_copy(update={"evaluation": stage.evaluation.model_copy(update={"lm_eval": asked})})


def with_a_merge() -> Stage:
    """A stage that averages two others, as no shipped spec does."""
    stage = PROJECT.resolve("llama31_1m", "mini").stages["base"]
    shares = (Share(parent="tiny/a", part=(1, 4)), Share(parent="tiny/b", part=(3, 4)))
    return stage.model_copy(update={"parents": ("tiny/a", "tiny/b"), "merge": shares})


def with_groups() -> Stage:
    """A stage whose optimizer has groups, a rule for steps that stand out and an average, as no shipped spec has."""
    stage = PROJECT.resolve("llama31_1m", "mini").stages["base"]
    assert stage.optimizer is not None
    heads = Group(name="tables", of=("embeddings",), lr=0.5, weight_decay=0.0, modules=("llm",))
    more = {"groups": (heads,), "skip": Skip(window=16, sigmas=3.0), "ema": 0.99}
    return stage.model_copy(update={"optimizer": stage.optimizer.model_copy(update=more)})


def with_pairs_of_answers() -> Stage:
    """A stage that learns from preferences, as no shipped spec does."""
    stage = PROJECT.resolve("llama31_1m", "mini").stages["sft_32k"]
    settings = Preference(loss="dpo", beta=0.1, answers="sum", turn_ends="learned", nll=0.2)
    return stage.model_copy(
        update={"phases": tuple(one.model_copy(update={"preference": settings}) for one in stage.phases)}
    )


CASES: dict[Field, tuple[Stage, tuple[Step, ...], bool]] = {}
for _stage in (
    *stages(),
    *of_every_family(),
    with_yarn(),
    with_the_harness(),
    with_a_merge(),
    with_groups(),
    with_pairs_of_answers(),
):
    for _field, _path, _inside in walk(_stage):
        kept = CASES.get(_field)
        # A field that is null tries less than one that is not.
        if kept is None or (at(kept[0], kept[1]) in (None, (), {}) and at(_stage, _path) not in (None, (), {})):
            CASES[_field] = (_stage, _path, _inside)


@pytest.mark.parametrize("field", CASES, ids=[".".join(field) for field in CASES])
def test_a_key_is_changed_by_identity_fields_and_by_nothing_else(field: Field) -> None:
    stage, path, inside = CASES[field]
    value, after = at(stage, path), changed(stage, path)
    assert after != stage
    assert (stage_key(after, ParentKeys()) != stage_key(stage, ParentKeys())) == inside, f"{path}: {value!r}"


def test_a_field_that_came_later_is_in_the_key_unless_it_is_none() -> None:
    stage = PROJECT.resolve("ouro", "mini").stages["warmup"]
    init = stage.init["llm"]
    assert {name: getattr(init, name) for name in init.LATER_FIELDS} == dict.fromkeys(init.LATER_FIELDS)
    assert not init.LATER_FIELDS & set(identity(init))
    assert "extend" in identity(init.model_copy(update={"extend": "mean"}))


def test_the_walk_reaches_every_field_of_every_resolved_value() -> None:
    fields = {(one.__name__, name) for one in below(Frozen) for name in one.model_fields}
    assert fields == set(CASES)


def test_a_parent_counts_by_its_key_and_not_by_its_name() -> None:
    stage = PROJECT.resolve("ouro", "mini").stages["stable_1"]
    keys = {"ouro/warmup": "a" * 32}
    renamed = stage.model_copy(
        update={
            "parents": ("mine/first",),
            "init": {
                name: init.model_copy(update={"parent": "mine/first"}) for name, init in stage.init.items()
            },
        }
    )  # fmt: skip
    assert stage_key(renamed, {"mine/first": "a" * 32}) == stage_key(stage, keys)
    assert stage_key(stage, {"ouro/warmup": "b" * 32}) != stage_key(stage, keys)
