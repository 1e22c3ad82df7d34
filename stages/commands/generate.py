"""`stages generate P/S --prompt TEXT`: what a finished stage writes."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

from stages.commands.finished import finished
from stages.errors import UsageError, UserError
from stages.export import model, sample, tokenizer
from stages.export.sample import Drawn
from stages.printable import printable


def generate(
    ref: str,
    prompt: str,
    scale: str,
    chat: bool,
    most: int,
    temperature: float | None,
    top_p: float | None,
    seed: int | None,
) -> None:
    """Print the text as it comes. Raises UsageError for a way of drawing that is not stated in full."""
    drawn = _drawn(temperature, top_p, seed)
    result, _ = finished(ref, scale)
    tokens, longest = tokenizer.of(result), result.stage.max_context
    ids = sample.prompt_ids(tokens, prompt, chat)
    if len(ids) >= longest:
        raise UserError(f"--prompt: found {len(ids):,} tokens; allowed: fewer than the model's context of {longest:,}.")
    limit = min(most, longest - len(ids))
    ids_written: list[int] = []
    found = sample.written(model.next_logits(result), ids, tokens.stops, limit, drawn)
    terminal = sys.stdout.isatty()
    for text in sample.texts(tokens, _noted(found, ids_written)):
        sys.stdout.write(_spelled(text) if terminal else text)
        sys.stdout.flush()
    print()
    if len(ids_written) == limit < most:
        print(f"stopped at the model's context of {longest:,} tokens", file=sys.stderr)


def _noted(ids: Iterator[int], seen: list[int]) -> Iterator[int]:
    for one in ids:
        seen.append(one)
        yield one


def _spelled(text: str) -> str:
    """Without control characters, which could act on a terminal; tabs stay."""
    return "\t".join(map(printable, text.split("\t")))


def _drawn(temperature: float | None, top_p: float | None, seed: int | None) -> Drawn | None:
    if temperature is None:
        for name, value in (("--top-p", top_p), ("--seed", seed)):
            if value is not None:
                raise UsageError(f"{name}: found {value} without --temperature; allowed: both, or neither (greedy).")
        return None
    if not (math.isfinite(temperature) and temperature > 0):
        raise UsageError(f"--temperature: found {temperature}; allowed: more than 0. Leave it out for greedy text.")
    if top_p is not None and not 0 < top_p <= 1:
        raise UsageError(f"--top-p: found {top_p}; allowed: more than 0, at most 1.")
    if seed is None or not 0 <= seed < 2**63:
        raise UsageError(
            f"--seed: found {'nothing' if seed is None else seed}; allowed: 0 to 2^63 - 1. It has to be said."
        )
    return Drawn(temperature, 1.0 if top_p is None else top_p, seed)
