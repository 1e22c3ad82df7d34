"""Two answers to one prompt, of which one is preferred: a row to two conversations, and both to one document.

Each of the two is a conversation as fine-tuning reads it, in one of its shapes, with `chosen` or `rejected` where that
has the one answer:

- messages: two whole lists of turns, as sets of preferences on the Hub have them. What both begin with is the prompt.
- alpaca: an instruction, and two answers as strings.
- prompt_completion: a prompt and two completions, strings (which get no turns) or lists of messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.data.tokens.chat import ASSISTANT
from stages.data.tokens.chats import Chat
from stages.data.tokens.template import TemplateError
from stages.data.turns import RowError, Turn

if TYPE_CHECKING:
    from stages.data.tokens.encode import Encoded

ONE = {"messages": "messages", "alpaca": "output", "prompt_completion": "completion"}  # the column with one answer
SIDES = ("chosen", "rejected")
BEGINS = 2  # in a mask, at the first token of the rejected conversation, which nothing predicts
TURNS = '[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]'
SHOWN = 80  # characters of a pair in a message
Written = Chat | tuple[str, str]
Read = Callable[[dict[str, Any], Mapping[str, str], str], Written]


@dataclass(frozen=True)
class Both:
    """The two conversations of a row, whose answers alone are learned; `prompt` is what they have in common."""

    chosen: Written
    rejected: Written
    prompt: Any

    @property
    def each(self) -> tuple[Written, Written]:
        """The chosen one first."""
        return self.chosen, self.rejected


def both(row: Mapping[str, Any], columns: Mapping[str, str], shape: str, read: Read) -> Both:
    """The pair of a row; `read` reads one conversation of such a shape. Raises RowError."""
    one = ONE[shape]
    _refuse_other_rows(row, columns, shape)
    chosen, rejected = (_side(row, {**columns, one: columns[side]}, columns[side], shape, read) for side in SIDES)
    if isinstance(chosen, tuple) or isinstance(rejected, tuple):
        if not (isinstance(chosen, tuple) and isinstance(rejected, tuple)):  # a list next to a string
            raise RowError(
                f"{columns['chosen']} and {columns['rejected']} are of two kinds", "two strings or two lists"
            )
        _refuse_equal(chosen, rejected, columns)
        return Both(chosen, rejected, chosen[0])
    _refuse_equal([turn.without_ids for turn in chosen.turns], [turn.without_ids for turn in rejected.turns], columns)
    if shape == "prompt_completion":
        first = chosen.first
        _refuse_prompts((chosen, rejected), columns)
    else:
        first = _common(chosen.turns, rejected.turns, columns)
    prompt = {"turns": [turn.without_ids for turn in chosen.turns[:first]], "tools": chosen.tools}
    return Both(replace(chosen, first=first), replace(rejected, first=first), prompt)


def _refuse_other_rows(row: Mapping[str, Any], columns: Mapping[str, str], shape: str) -> None:
    """Raise RowError where both answers are as another shape has them."""
    found = [row[columns[side]] for side in SIDES]
    names = " and ".join(columns[side] for side in SIDES)
    plain = all(isinstance(one, str) and not one.lstrip().startswith("[") for one in found)
    if shape == "messages" and plain:
        raise RowError(
            f"{names} are strings instead of lists of turns",
            f"`rows: prompt_completion`, which reads two strings beside a prompt, or lists as {TURNS}",
        )
    if shape == "prompt_completion" and isinstance(row[columns["prompt"]], str) and all(map(_whole, found)):
        raise RowError(
            f"{columns['prompt']} is a string, {names} are lists of turns that begin with a prompt",
            "`rows: messages`, which reads such lists alone",
        )


def _whole(turns: Any) -> bool:
    """Whether a value is turns that begin with a prompt."""
    first = turns[0] if isinstance(turns, list) and len(turns) > 1 else None
    return isinstance(first, dict) and first.get("role") in ("system", "user")


def answers(chat: Chat) -> int:
    """How many turns of a conversation are learned."""
    return sum(turn.role == ASSISTANT for turn in chat.turns[chat.first :])


def _side(row: Mapping[str, Any], columns: Mapping[str, str], name: str, shape: str, read: Read) -> Written:
    """The conversation whose answer is in the column `name`. Raises RowError, which names that column."""
    try:
        found = read(dict(row), columns, shape)
    except RowError as error:
        raise RowError(error.why if name in error.why else f"{name}: {error.why}", error.allowed) from None
    if isinstance(found, Chat) and found.turns[-1].role != ASSISTANT:
        raise RowError(f"{name} ends with a turn of the {found.turns[-1].role}, not with an answer")
    return found


def _refuse_equal(chosen: object, rejected: object, columns: Mapping[str, str]) -> None:
    if chosen == rejected:
        raise RowError(f"{columns['chosen']} and {columns['rejected']} say the same, so neither is preferred")


def _refuse_prompts(sides: Sequence[Chat], columns: Mapping[str, str]) -> None:
    """Raise RowError where an answer that stands next to its prompt begins with a prompt of its own."""
    for name, chat in zip((columns[side] for side in SIDES), sides, strict=True):
        if (role := chat.turns[chat.first].role) != ASSISTANT:
            raise RowError(
                f"{name} begins with a turn of the {role}, behind what {columns['prompt']} asks",
                "answers alone beside a prompt, or `rows: messages` for whole conversations",
            )


def _common(chosen: Sequence[Turn], rejected: Sequence[Turn], columns: Mapping[str, str]) -> int:
    """How many turns both begin with: the prompt. Raises RowError where the two answer different things."""
    pairs = zip(chosen, rejected, strict=False)
    first = sum(1 for _ in takewhile(lambda pair: pair[0].without_ids == pair[1].without_ids, pairs))
    named = list(zip((columns[side] for side in SIDES), (chosen, rejected), strict=True))
    for name, turns in named:
        if first == len(turns):
            raise RowError(f"{name} is the beginning of the other, and has no answer of its own")
    for name, turns in named:
        if turns[first].role != ASSISTANT:
            raise RowError(
                f"{name}[{first}] is a turn of the {turns[first].role}, and the first in which the two differ",
                "two answers to one prompt: lists that differ from a turn of the assistant on",
            )
    if not first:
        raise RowError(
            f"{' and '.join(columns[side] for side in SIDES)} begin with an answer, and no prompt asks for it",
            f"two lists as {TURNS}, or `rows: prompt_completion`, which reads answers beside a list `prompt`",
        )
    return first


def joined(
    sides: Encoded, refused: Mapping[int, TemplateError], identities: Sequence[str]
) -> tuple[Encoded, dict[int, TemplateError]]:
    """Pairs as one document each, of both conversations one after the other; of those that cannot be, by place, why.

    `sides` are the conversations that could be written, in order, `refused` says by place why others could not. The
    prompt has to be the same tokens in both: it is what the two answers are answers to.
    """
    bad = {place // 2: error for place, error in sorted(refused.items(), reverse=True)}
    written = [place for place in range(2 * len(identities)) if place not in refused]
    encoded = sides.only(np.array([place // 2 not in bad for place in written], dtype=np.bool_))
    pairs = [place for place in range(len(identities)) if place not in bad]
    ends = np.cumsum(encoded.lengths).reshape(-1, 2)
    mask, kept = encoded.supervised.copy(), np.ones(len(pairs), dtype=np.bool_)
    for number, (place, (middle, end)) in enumerate(zip(pairs, ends.tolist(), strict=True)):
        start = int(ends[number - 1, 1]) if number else 0
        if (why := _unlike(encoded, start, middle, end)) is not None:
            kept[number] = False
            bad[place] = TemplateError(f"{why} (the pair that begins {identities[place][:SHOWN]!r})")
        mask[middle] = BEGINS
    made = replace(encoded, supervised=mask, lengths=encoded.lengths.reshape(-1, 2).sum(1))
    return made.only(kept), bad


def _unlike(encoded: Encoded, start: int, middle: int, end: int) -> str | None:
    """Why two encoded conversations are no pair, None where they are."""
    prompts, answers = list[NDArray[Any]](), list[NDArray[Any]]()
    for stretch in (slice(start, middle), slice(middle, end)):
        tokens, first = encoded.tokens[stretch], int(np.argmax(encoded.supervised[stretch] == 1))
        prompts.append(tokens[:first])
        answers.append(tokens[first:])
    if not np.array_equal(prompts[0], prompts[1]):
        return (
            "the prompt becomes other tokens before the chosen answer than before the rejected one: the chat template "
            "or the tokenizer writes it by what is answered; separate the two in the template"
        )
    if not len(prompts[0]):
        return "nothing stands before the answers, so nothing predicts their first token"
    same = np.array_equal(answers[0], answers[1])
    return "both answers become the same tokens, so neither is preferred" if same else None
