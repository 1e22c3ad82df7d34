"""Two runs step by step: which step differs first, in which component, and by how much at most.

A run's content is {steps: [{step, loss, grad_norm, ...}], end: {...}}: numbers as IEEE hex, everything else (digests of
weights, states, samples) as text that is equal or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stages.testing import step_tensors
from stages.testing.golden import GoldenError
from stages.testing.golden_check import Change
from stages.testing.step_tensors import Inside

SAMPLES = ("samples", "data")  # digests of what was read, which every environment has in common
SAME_ORDER_STEPS, SAME_ORDER = 3, 1e-5  # the tier for environments whose bits differ: so many steps, relative
Content = Mapping[str, Any]
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


def hexed(value: float) -> str:
    """A number to its last bit."""
    return float(value).hex()


def number(value: Any) -> float | None:
    """What `hexed` wrote; None for what is no number."""
    if not (isinstance(value, str) and ("0x" in value or value in ("nan", "inf", "-inf"))):
        return None
    try:
        return float.fromhex(value)
    except (ValueError, OverflowError):  # a golden edited by hand: it differs as text does
        return None


def change(old: Content, new: Content) -> Change | None:
    """The difference of two runs; None where there is none."""
    before, now = old["steps"], new["steps"]
    lines = [] if len(before) == len(now) else [f"{len(before)} steps became {len(now)}"]
    absent = _absent(before, now)
    first = {name: place for name, place in first_steps(before, now).items() if name not in absent}
    moved = sorted(first.items(), key=lambda one: one[1])
    ends = [name for name in {**old.get("end", {}), **new.get("end", {})} if _end(old, name) != _end(new, name)]
    if absent:
        lines.append(f"steps have now, and had not before: {', '.join(absent)}")
    if not (lines or moved or ends):
        return None
    begin = moved[0][1] if moved else None
    earliest = [name for name, place in moved if place == begin]
    if begin is not None:
        earliest = causes_first(earliest, before[begin], now[begin])
        label = before[begin].get("step", begin + 1)
        lines.append(f"first differs at step {label}: {earliest[0]}")
        lines += [f"  in the same step {', '.join(earliest[1:])}"] if earliest[1:] else []
        later = [f"{name} at step {before[place].get('step', place + 1)}" for name, place in moved[len(earliest) :]]
        lines += [f"  then {', '.join(later)}"] if later else []
        lines += [f"  {words}"] if (words := meaning(earliest)) else []
    lines += [f"at the end differ: {', '.join(ends)}"] if ends else []
    sizes = [size for name in first if (size := _size(name, before, now))]
    lines += [f"  {line}" for _, line in sizes]
    what = ", ".join(earliest[:1] or ends) or ("new components" if absent else lines[0])
    step = "" if begin is None else str(before[begin].get("step", begin + 1))
    return Change(what, step, max(sizes)[1].partition("; ")[0] if sizes else "", "\n".join(lines))


def _absent(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[str]:
    """Components that steps have now and no step had before: they are named once, and are no first step."""
    known = {name for row in before for name in row}
    return list(dict.fromkeys(name for row in now for name in row if name not in known)) if known else []


def _end(content: Content, name: str) -> Any:
    return content.get("end", {}).get(name)


def first_steps(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The place of the first step at which each component differs, in the order in which a step names them now."""
    found: dict[str, int] = {}
    for place, (old, new) in enumerate(zip(before, now, strict=False)):
        for name in dict.fromkeys([*new, *old]):
            if name not in found and old.get(name) != new.get(name):
                found[name] = place
    return found


def _size(name: str, before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> tuple[float, str] | None:
    """The largest change of a column of numbers, relative, and in words."""
    apart = []
    for place, (old, new) in enumerate(zip(before, now, strict=False)):
        one, other = number(old.get(name)), number(new.get(name))
        if one is not None and other is not None and old[name] != new[name]:
            size = abs(other - one)
            relative = size / abs(one) if one else math.inf
            apart.append((math.inf if math.isnan(relative) else relative, size, old.get("step", place + 1)))
    if not apart:
        return None
    relative, size, step = max(apart)
    return (
        relative,
        f"{name} by at most {size:.3g} ({relative:.2g} relative), at step {step}; {len(apart)} steps differ",
    )


def hold_same_order(others: Mapping[str, Content], found: Content) -> str:
    """What is promised in an environment that no golden knows: the first steps agree with one that is known, to the
    tolerance of the tier same-order, on the same samples. Raises GoldenError where they do not.
    """
    for name, known in others.items():
        if near(known, found):
            return f"its first {SAME_ORDER_STEPS} steps are within {SAME_ORDER:g} of {name}"
    differing = "\n".join(f"  {name}: {one.text}" for name, known in others.items() if (one := change(known, found)))
    raise GoldenError(f"no golden of this environment, and farther than {SAME_ORDER:g} from every other:\n{differing}")


def near(old: Content, new: Content) -> bool:
    """Whether the first steps agree to the tier's tolerance and the same samples were read."""
    pairs = list(zip(old["steps"][:SAME_ORDER_STEPS], new["steps"][:SAME_ORDER_STEPS], strict=False))
    counted = len(old["steps"]) == len(new["steps"])
    same = counted and all(_end(old, name) == _end(new, name) for name in SAMPLES)
    return same and all(_near(name, one.get(name), other.get(name)) for one, other in pairs for name in one)


def _near(name: str, old: Any, new: Any) -> bool:
    """Whether numbers agree to the tier's tolerance and samples are the same; other digests cannot be near."""
    if name in SAMPLES:
        return bool(old == new)
    one, other = number(old), number(new)
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=SAME_ORDER, abs_tol=0.0)


def beyond(old: Content, new: Content) -> Change | None:
    """The difference of two runs' first steps beyond the tolerance of the tier same-order; None where there is none."""
    rows = list(zip(old["steps"][:SAME_ORDER_STEPS], new["steps"][:SAME_ORDER_STEPS], strict=False))
    # What is near is the same here, so that `change` names what is not.
    near_rows = [{name: one.get(name) if _near(name, one.get(name), two.get(name)) else two.get(name)
                  for name in dict.fromkeys([*one, *two])} for one, two in rows]  # fmt: skip
    return change({"steps": [one for one, _ in rows]}, {"steps": near_rows})


def same(expected: Content, found: Content, title: str, tensors: tuple[Inside, Inside] = ({}, {})) -> None:
    """Raise GoldenError where two runs that have to be equal are not. `tensors`: of both, by step and component."""
    difference = change(expected, found)
    if difference is not None:
        raise GoldenError(f"{title}: {difference.text}{named(difference, *tensors)}")


def named(difference: Change, expected: Inside, found: Inside) -> str:
    """A line that names the tensors which differ first; "" where they are not known."""
    differing = step_tensors.differing(expected, found, difference.first, difference.what)
    return f"\n  {differing}" if differing else ""


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
