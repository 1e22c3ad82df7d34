"""What it means that a component of a step is the first that differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# By the beginning of the component's name.
MEANINGS = {
    "mode": "modules train where they did not, or the other way round, or dropout has another rate",
    "parameters": "the step before updated them otherwise, or they were not restored",
    "optimizer state": "it was not restored, or the step before updated it otherwise",
    "lr": "the schedule is at another place, or is another",
    "learning rate": "the schedule is at another place, or is another",
    "weight decay": "it was not restored or not set before the step, or its schedule is another",
    "optimizer options": "an option of a group (betas, eps, momentum) is another",
    "RNG": "the generator was not restored, or something else draws from it",
    "data": "the step read other samples, or in another order: the position in the data or the sampler's seed",
    "samples": "the step read other samples, or in another order: the position in the data or the sampler's seed",
    "buffers": "they were not restored, or the forward pass updated them otherwise, as running statistics of BatchNorm",
    "loss": "the same parameters compute another loss from the same samples: the model, or how losses are averaged",
    "gradient": "the loss is the same, the gradient is not: backward, accumulation, unscaling or clipping",
}


def causes_first(names: list[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names of what differs in one step, as in the step, but data before the generators where its amount differs: more
    samples draw more numbers. With the same amount it is the generators from which other samples may follow.
    """
    if "data" not in names or str(old["data"]).split(" ")[0] == str(new["data"]).split(" ")[0]:
        return names
    place = next((number for number, name in enumerate(names) if name.startswith("RNG")), names.index("data"))
    others = [name for name in names if name != "data"]
    return [*others[:place], "data", *others[place:]]


def meaning(names: list[str]) -> str:
    """Of the first of what differs in one step, in words; "" for a component that only the loop knows.

    Watch sees the generators after a step has drawn from them. Where samples have different lengths, a generator that
    was not restored changes the amount of data too, so both causes are named.
    """
    text = next((meaning for begin, meaning in MEANINGS.items() if names[0].startswith(begin)), "")
    drawn = next((name for name in names if name.startswith("RNG")), "")
    if names[0] == "data" and drawn:
        text += f"; or samples are drawn with the {drawn}, which was not restored"
    return text
