"""Figures of one run that have to agree: rows of model and data, vocabularies, weight decay, experts, data stages."""

from __future__ import annotations

from collections.abc import Iterator

from stages.audit.finding import stage_rule
from stages.audit.readers.deepspeed import PREFIX
from stages.audit.recipe import Fault, Read, Stage, counted


@stage_rule("context-twice", "I-08", "Rows of the data are not rows of the model")
def context(stage: Stage) -> Iterator[Fault]:
    """Megatron-Bridge asserts that both are equal."""
    rows, model = stage.count("data_context"), stage.count("model_context")
    if rows is not None and model is not None and rows != model:
        yield stage.fault(
            "data_context",
            f"data of {rows:,} tokens a row, a model of {model:,}",
            "one length",
            "the launch stops at an assertion",
        )


@stage_rule("vocabulary-short", "S-04", "Tokens of the data do not fit")
def vocabulary(stage: Stage) -> Iterator[Fault]:
    """Ids above the model's vocabulary have no embedding; ids above 65,535 do not fit two bytes."""
    data, model, size = stage.count("data_vocab"), stage.count("vocab"), stage.count("token_bytes")
    if data is not None and model is not None and stage.stated("vocab") and model < data:
        found, where = f"ids up to {data:,}, {model:,} embeddings", stage.at("vocab")
        yield Fault(stage, where, found, f"at least {data:,}", "the launch stops at the first id past the end")
    if size is not None and data is not None and 0 < size < 8 and data > 256**size:
        found, where = f"{size} bytes for ids up to {data:,}", stage.at("token_bytes")
        yield Fault(stage, where, found, f"{size * 2}", "files are read as other ids", stage.count("tokens"))


@stage_rule("weight-decay-twice", "I-05", "Weight decay begins and ends at two figures, and does not move")
def weight_decay(stage: Stage) -> Iterator[Fault]:
    """Megatron's scheduler asserts that both are equal while its style is constant, which is the default."""
    first, last = stage.number("weight_decay_start"), stage.number("weight_decay_end")
    style = stage.text("weight_decay_style") or "constant"
    if first is None or last is None or first == last or style != "constant":
        return
    yield stage.fault(
        "weight_decay_end",
        f"{first:g} to {last:g}, in the style {style}",
        "one figure, or a style in which it grows",
        "the launch stops at an assertion",
    )


@stage_rule("experts-few", "S-06", "A token is given to more experts than there are")
def experts(stage: Stage) -> Iterator[Fault]:
    """The router takes the best k of all."""
    every, chosen = stage.count("experts"), stage.count("experts_per_token")
    if every and chosen and chosen > every:
        yield stage.fault("experts_per_token", f"{chosen} of {every} experts", f"at most {every}", "the launch stops")


@stage_rule("decay-length-missing", "I-05", "A decay without its length")
def length_missing(stage: Stage) -> Iterator[Fault]:
    """Megatron's scheduler asserts that a warm-up, stable, decay schedule says how long its decay is."""
    whole = stage.framework == "megatron-lm" and not stage.on("partial")
    given = {"wsd_steps", "wsd_samples"} & set(stage.values)
    if whole and str(stage.text("decay")).upper() == "WSD" and not given:
        yield stage.fault(
            "decay",
            "WSD without --lr-wsd-decay-iters",
            "how many steps the decay has",
            "the launch stops at an assertion",
        )


@stage_rule("data-first", "I-07", "No data from the first step on")
def first_data(stage: Stage) -> Iterator[Fault]:
    """nanotron asserts that a data stage begins at step 1, and that no two begin at one step."""
    starts = {name: stage.count(name) for name in stage.values if name.startswith("data_from")}
    if not starts or None in starts.values() or stage.framework != "nanotron":
        return
    known = list(starts.values())
    twice = [name for n, name in enumerate(starts) if known.index(starts[name]) != n]
    if 1 not in known or twice:
        name = twice[0] if twice else min(starts, key=lambda one: starts[one] or 0)
        yield Fault(
            stage,
            stage.values[name].where,
            f"a second data stage from step {starts[name]:,} on" if twice else f"data from step {starts[name]:,} on",
            "one that begins at step 1, and each at a step of its own",
            "the launch stops",
        )


_OTHER = {"peak": "lr"}  # DeepSpeed's name for the same figure
_SWITCHES = frozenset({"fp16", "bf16"})


@stage_rule("deepspeed-differs", "I-05", "DeepSpeed's file and the Trainer's arguments differ")
def differs(stage: Stage) -> Iterator[Fault]:
    """The Trainer compares what is not `auto` and stops; so do figures of DeepSpeed's that contradict one another."""
    batch, part = stage.count(PREFIX + "batch"), counted(stage.count(one) for one in ("micro_batch", "accumulation"))
    if batch is not None and part and batch % part and stage.get("batch") is None:
        value = stage.values[PREFIX + "batch"]
        expected = f"a multiple of {part}, the sequences of one device in a step, or auto"
        yield Fault(stage, value.where, f"{value.key} {batch}", expected, "the launch stops")
    for name, value in stage.values.items():
        figure = name.removeprefix(PREFIX)
        mine = _trainers(stage, _OTHER.get(figure, figure)) if name != figure else None
        if mine is None or value.value is None or mine == value.value:
            continue
        shown = stage.values.get(_OTHER.get(figure, figure))
        place = f" ({shown.where})" if shown is not None and shown.stated else ""
        yield Fault(
            stage,
            value.where,
            f"{value.key} {value.value}",
            f"{mine}, the Trainer's{place}, or auto",
            "the launch stops",
        )


def _trainers(stage: Stage, figure: str) -> Read:
    """The Trainer's figure; a precision that it does not name is off, unless it is chosen at the launch."""
    if figure in _SWITCHES and figure not in stage.values:
        return False if stage.framework == "transformers" and not stage.on("partial") else None
    value = stage.get(figure)
    return None if figure in _SWITCHES and not isinstance(value, bool) else value
