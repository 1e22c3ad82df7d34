"""Names and boxes that say a context or a budget which nothing has: a copy that was not changed to its end, phases that
were moved, a figure of the column next to the box's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from stages.spec import units
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.schema.stages import RawTrain

# What k and m count where no length is meant: sft_64k_rows, vocab_64k.
COUNTED = "rows|examples|samples|pairs|items|docs|documents|questions|steps|tokens|seqs|words|vocab"
LENGTH = re.compile(rf"(?:^|_)(?<!vocab_)(?<!batch_)(\d{{1,4}})(k|m)(?=_|$)(?!_(?:{COUNTED})(?:_|$))")  # cpt_512k, 32k
IN_BOX = re.compile(rf"\b(\d{{1,4}})([KM])\b(?!\s*(?:{COUNTED})\b)", re.IGNORECASE)  # 512K Continue Pretrain
BUDGET = re.compile(r"\b(\d+(?:\.\d+)?)(?:(T)\b|\s?(B)\s+[Tt]okens\b)")  # Text Pre-training 5.2T, LongCT 20B Tokens
PREFIX = {"k": 2**10, "m": 2**20}


def misnamed(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each stage and phase whose name says another context than its own; the name is for people alone."""
    for stage in loaded.stages.values():
        yield from _of_stage(stage)


def _of_stage(stage: LoadedStage) -> Iterator[str]:
    phases = stage.raw.phases if isinstance(stage.raw, RawTrain) else []
    contexts = [phase.context for phase in phases]
    named = [(stage.raw.stage, 0, contexts), *((one.name, n, [one.context]) for n, one in enumerate(phases))]
    for name, number, own in named if phases else ():
        for word, length in lengths(name):
            if length not in own:
                where = stage.document.where(("phases", number, "context"))
                yield f"{where}: {name!r} says {word}, and has a context of {max(own):,}."
    yield from _of_box(stage)


def _of_box(stage: LoadedStage) -> Iterator[str]:
    """A box with a number of tokens that is not the stage's to within the last digit: 1.4T is within 0.05T."""
    phases = stage.raw.phases if isinstance(stage.raw, RawTrain) else []
    contexts, written = [phase.context for phase in phases], dict(lengths(stage.raw.stage)).values()
    said = dict(_powers((number, prefix.lower()) for number, prefix in IN_BOX.findall(stage.raw.box)))
    if contexts and said and not {*contexts, *written} & {*said.values()}:
        where, words = stage.document.where(("box",)), " and ".join(said)
        yield f"{where}: the box is {stage.raw.box!r}, which says {words}, and has a context of {max(contexts):,}."
    budgets = [phase.budget for phase in phases]
    counted = [budget for budget in budgets if isinstance(budget, int)]
    claimed = [
        units.claimed(number + (trillions or billions)) for number, trillions, billions in BUDGET.findall(stage.raw.box)
    ]
    if claimed and budgets and len(counted) == len(budgets):
        read = sum(counted)
        if not any(abs(read - tokens) <= within for tokens, within in claimed):
            where = stage.document.where(("phases", 0, "budget"))
            yield f"{where}: the box is {stage.raw.box!r}, and the stage reads {units.format_tokens(read)}."


def lengths(name: str) -> Iterator[tuple[str, int]]:
    """The contexts that a name may say: powers of two and three times those, from 4K on."""
    return _powers(LENGTH.findall(name))


def _powers(words: Iterable[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    for number, prefix in words:
        size = int(number) * PREFIX[prefix]
        odd = size // (size & -size) if size else 0
        if odd in (1, 3) and size >= 4096:
            yield f"{number}{prefix.upper()}i", size
