"""Generated arithmetic: statements in words and figures (math), and problems with a written-out trace (reasoning)."""

from __future__ import annotations

from collections.abc import Iterator

from stages.data.document import END_THINK, THINK, Document, Part, chat, held_out, plain, text_part
from stages.data.draws import Draws
from stages.data.spec import CorpusSpec


def math(spec: CorpusSpec) -> Iterator[Document]:
    """Documents of a few related statements each, all of them true."""
    for number in range(spec.number("count")):
        identity = f"math {number}"
        draws = Draws(identity)
        statement = draws.choice(_STATEMENTS)
        lines = [statement(draws) for _ in range(draws.between(4, 12))]
        yield plain(identity, "\n".join(lines), held_out(identity))


def reasoning(spec: CorpusSpec) -> Iterator[Document]:
    """A question, <think> the steps </think>, and the answer."""
    for number in range(spec.number("count")):
        identity = f"reasoning {number}"
        question, steps, answer = problem(Draws(identity))
        parts = (Part(THINK, True), Part(steps, True), Part(END_THINK, True), Part(answer, True))
        yield chat(identity, (("user", text_part(question)), ("assistant", parts)), held_out(question))


def problem(draws: Draws) -> tuple[str, str, str]:
    """(question, steps, answer) of one problem."""
    return draws.choice((_add, _subtract, _multiply, _chain))(draws)


def _sum(draws: Draws) -> str:
    a, b = draws.below(100), draws.below(100)
    return draws.choice((f"{a} + {b} = {a + b}", f"The sum of {a} and {b} is {a + b}."))


def _difference(draws: Draws) -> str:
    a, b = draws.below(100), draws.below(100)
    a, b = max(a, b), min(a, b)
    return draws.choice((f"{a} - {b} = {a - b}", f"{a} minus {b} leaves {a - b}."))


def _product(draws: Draws) -> str:
    a, b = draws.below(13), draws.below(13)
    return draws.choice((f"{a} * {b} = {a * b}", f"{a} times {b} is {a * b}."))


def _division(draws: Draws) -> str:
    a, b = draws.below(100), draws.between(2, 12)
    return f"{a} divided by {b} is {a // b}, remainder {a % b}."


def _comparison(draws: Draws) -> str:
    a, b = draws.below(1000), draws.below(1000)
    return f"{a} is {'less than' if a < b else 'equal to' if a == b else 'greater than'} {b}."


def _sequence(draws: Draws) -> str:
    first, step = draws.below(20), draws.between(1, 9)
    terms = ", ".join(str(first + step * place) for place in range(7))
    return f"Count from {first} in steps of {step}: {terms}."


def _parity(draws: Draws) -> str:
    a = draws.below(1000)
    return f"{a} is {'odd' if a % 2 else 'even'}."


_STATEMENTS = (_sum, _difference, _product, _division, _comparison, _sequence, _parity)


def _add(draws: Draws) -> tuple[str, str, str]:
    a, b = draws.between(10, 99), draws.between(10, 99)
    ones, tens = a % 10 + b % 10, a // 10 + b // 10
    steps = f"{a % 10} + {b % 10} = {ones}. {a // 10} + {b // 10} = {tens}. {tens}0 + {ones} = {a + b}."
    return f"What is {a} + {b}?", steps, str(a + b)


def _subtract(draws: Draws) -> tuple[str, str, str]:
    a, b = draws.between(10, 99), draws.between(10, 99)
    a, b = max(a, b), min(a, b)
    rest = a - b // 10 * 10
    return f"What is {a} - {b}?", f"{a} - {b // 10}0 = {rest}. {rest} - {b % 10} = {a - b}.", str(a - b)


def _multiply(draws: Draws) -> tuple[str, str, str]:
    a, b = draws.between(10, 99), draws.between(2, 9)
    high, low = a // 10 * 10 * b, a % 10 * b
    return (
        f"What is {a} * {b}?",
        f"{a // 10}0 * {b} = {high}. {a % 10} * {b} = {low}. {high} + {low} = {a * b}.",
        str(a * b),
    )


def _chain(draws: Draws) -> tuple[str, str, str]:
    name = draws.choice(("Ada", "Emmy", "Alan", "Grace", "Kurt", "Sofia"))
    thing = draws.choice(("apples", "books", "coins", "pens"))
    have, more, gone = draws.between(5, 40), draws.between(2, 20), draws.between(1, 6)
    total = have + more
    question = f"{name} has {have} {thing}, finds {more} more and gives away {gone}. How many are left?"
    return question, f"{have} + {more} = {total}. {total} - {gone} = {total - gone}.", str(total - gone)
