"""`stages generate P/S --prompt TEXT`: what a finished stage writes."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from stages.commands.finished import finished
from stages.errors import UsageError, UserError
from stages.export.sampling import sampling
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
    """Print the text as it comes.

    Raises UsageError for a way of drawing that is not stated in full, and for a prompt that is not UTF-8.
    """
    how = sampling(temperature, top_p, seed)
    try:
        prompt.encode()
    except UnicodeEncodeError:  # bytes of a command line that are no text are halves of characters
        raise UsageError("--prompt: found bytes that are not UTF-8; allowed: text in UTF-8.") from None
    result, _ = finished(ref, scale)
    from stages.export import model, sample, tokenizer  # loads torch: what is mistyped was answered by now

    tokens, longest = tokenizer.of(result), result.stage.max_context
    ids = sample.prompt_ids(tokens, prompt, chat)
    if len(ids) >= longest:
        raise UserError(f"--prompt: found {len(ids):,} tokens; allowed: fewer than the model's context of {longest:,}.")
    limit = min(most, longest - len(ids))
    ids_written: list[int] = []
    found = sample.written(model.next_logits(result), ids, tokens.stops, limit, how)
    terminal = sys.stdout.isatty()
    for text in sample.texts(tokens, _noted(found, ids_written)):
        # Control characters could act on a terminal; tabs stay.
        sys.stdout.write("\t".join(map(printable, text.split("\t"))) if terminal else text)
        sys.stdout.flush()
    print()
    if len(ids_written) == limit < most:
        print(f"stopped at the model's context of {longest:,} tokens", file=sys.stderr)


def _noted(ids: Iterator[int], seen: list[int]) -> Iterator[int]:
    for one in ids:
        seen.append(one)
        yield one
