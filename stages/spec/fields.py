"""The types of raw specs' fields: text of a scalar in, exact value out. What a number may be is in `domains`."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from stages.spec import domains, quantities, units
from stages.spec.domain import Written
from stages.spec.names import Name
from stages.spec.scheduled import Named, Scheduled

PLACEHOLDERS = frozenset(
    {"todo", "tbd", "tba", "tbc", "fixme", "wip", "xxx", "n/a", "none", "ok", "okay", "fine", "yes", "later", "temp"}
)
ARXIV = re.compile(r"\barxiv(?:\.org/(?:abs|pdf|html)/|[:\s]\s*)(?!10\.\d+/)(\d[\w.]*)", re.IGNORECASE)
MONTH = r"(?:0[1-9]|1[0-2])"  # numbers since April 2007; before, they began with a letter
ARXIV_ID = re.compile(rf"(?:(?:0[7-9]|1[0-4]){MONTH}\.\d{{4}}|(?:1[5-9]|[2-9]\d){MONTH}\.\d{{5}})(?:v\d+)?")
NOWHERE = "none"  # the citation of what is published nowhere
YEAR = 4  # digits, as in `arXiv, 2024`; a number has more


class Raw(BaseModel):
    """Base of all raw specs: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True)


def says(value: object) -> bool:
    """Whether a text has a letter or a digit, of any script: a blank, and marks alone, say nothing."""
    return isinstance(value, str) and any(one.isalnum() for one in value)


def _text(value: object) -> object:
    """Text for people, or a name from elsewhere: it has to say something."""
    if says(value) or not isinstance(value, str):
        return value  # what is no text at all is refused as such
    raise quantities.BadQuantity(quantities.describe(value), "text that says something", "Say it, or write `unknown`.")


def _waiver_reason(value: object) -> object:
    """As `_reason`; that a waiver's says nothing is a finding (S-07)."""
    return value if isinstance(value, str) and not says(value) else _reason(value)


def _reason(value: object) -> object:
    """Why something stands as it does: a word that keeps the place of a reason is none."""
    if says(value) and not _is_placeholder(value):
        return value
    raise quantities.BadQuantity(quantities.describe(value), "a reason, in words", "Say why.")


def _is_placeholder(value: object) -> bool:
    return str(value).strip(" .?!-").lower() in PLACEHOLDERS


def _citation(value: object) -> object:
    """Where something is published: a number of arXiv's that cannot be one leads nowhere."""
    if not isinstance(value, str):
        return value
    if not says(value) or (_is_placeholder(value) and value != NOWHERE):
        raise quantities.BadQuantity(
            quantities.describe(value), f"where it is published, or {NOWHERE}", "Say where: arXiv 2407.21783 table 3."
        )
    for written in ARXIV.findall(value):
        id = written.rstrip(".").removesuffix(".pdf")
        if len(id) > YEAR and not ARXIV_ID.fullmatch(id):
            allowed = "a number such as 2504.07491: year and month, a point, five digits (four before 2015)"
            raise quantities.BadQuantity(f"arXiv {id}", allowed, "Correct the number.")
    return value


Citation = Annotated[str, BeforeValidator(_citation, json_schema_input_type=str)]
Reason = Annotated[str, BeforeValidator(_reason, json_schema_input_type=str)]
WaiverReason = Annotated[str, BeforeValidator(_waiver_reason, json_schema_input_type=str)]
Text = Annotated[str, BeforeValidator(_text), Field(pattern=r"\S")]
Flag = Annotated[bool, BeforeValidator(units.flag)]
Names = Annotated[list[str], AfterValidator(units.each_once), Field(json_schema_extra={"uniqueItems": True})]
NewNames = Annotated[list[Name], AfterValidator(units.each_once), Field(json_schema_extra={"uniqueItems": True})]

Budget = Annotated[int, Written(domains.BUDGET)]
PhaseBudget = Annotated[int | units.Epochs, Written(domains.PHASE_BUDGET)]
Offset = Annotated[int, Written(domains.OFFSET)]
Context = Annotated[int, Written(domains.CONTEXT)]
EvaluatedContext = Annotated[int, Written(domains.EVALUATED)]
Batch = Annotated[int, Written(domains.BATCH)]
Epochs = Annotated[int, Written(domains.EPOCHS)]
Share = Annotated[Fraction, Written(domains.SHARE)]
Part = Annotated[Fraction, Written(domains.PART)]
After = Annotated[Fraction, Written(domains.AFTER)]
Loops = Annotated[int, Written(domains.LOOPS)]
EntropyWeight = Annotated[Fraction | Named, Scheduled(domains.ENTROPY_WEIGHT)]
RouterRate = Annotated[Fraction | Named, Scheduled(domains.ROUTER_RATE)]
ZLoss = Annotated[Fraction | Named, Scheduled(domains.Z_LOSS)]
CaptionWeight = Annotated[Fraction | Named, Scheduled(domains.CAPTION_WEIGHT)]
PreferenceBeta = Annotated[Fraction, Written(domains.PREFERENCE_BETA)]
NllWeight = Annotated[Fraction, Written(domains.NLL_WEIGHT)]
Pixels = Annotated[int, Written(domains.PIXELS)]

Rate = Annotated[Fraction, Written(domains.RATE)]
StartRate = Annotated[Fraction | None, Written(domains.START_RATE)]
Fall = Annotated[Fraction, Written(domains.FALL)]
Clock = Annotated[int, Written(domains.CLOCK)]
Length = Annotated[tuple[int | Fraction, str], Written(domains.LENGTH)]
Claimed = Annotated[tuple[int, int], Written(domains.CLAIM)]

MergedShare = Annotated[Fraction, Written(domains.MERGED_SHARE)]
AverageDecay = Annotated[Fraction, Written(domains.AVERAGE_DECAY)]

RopeBase = Annotated[Fraction, Written(domains.ROPE_BASE)]
RopeFactor = Annotated[Fraction, Written(domains.ROPE_FACTOR)]
Magnitude = Annotated[Fraction | None, Written(domains.MAGNITUDE)]

Nodes = Annotated[int, Written(domains.NODES)]
Ranks = Annotated[int, Written(domains.RANKS)]
Divided = Annotated[int, Written(domains.DIVIDED)]
Threads = Annotated[int, Written(domains.THREADS)]
Memory = Annotated[int, Written(domains.MEMORY)]
TimeLimit = Annotated[int, Written(domains.TIME_LIMIT)]
Steps = Annotated[int, Written(domains.STEPS)]
Kept = Annotated[int, Written(domains.KEPT)]
Margin = Annotated[int, Written(domains.MARGIN)]

Seed = Annotated[int, Written(domains.SEED)]
Samples = Annotated[int, Written(domains.SAMPLES)]
Vocabulary = Annotated[int, Written(domains.VOCABULARY)]
Shrink = Annotated[Fraction, Written(domains.SHRINK)]
LrFactor = Annotated[Fraction, Written(domains.LR_FACTOR)]
BudgetExponent = Annotated[Fraction, Written(domains.BUDGET_EXPONENT)]

Operations = Annotated[int, Written(domains.OPERATIONS)]
DeviceMemory = Annotated[int, Written(domains.DEVICE_MEMORY)]
RuntimeMemory = Annotated[int, Written(domains.RUNTIME_MEMORY)]
Disk = Annotated[int, Written(domains.DISK)]
Milliseconds = Annotated[Fraction, Written(domains.MILLISECONDS)]

Measured = Annotated[int, Written(domains.MEASURED)]
NGram = Annotated[int, Written(domains.NGRAM)]
BadRows = Annotated[int, Written(domains.BAD_ROWS)]
Characters = Annotated[int, Written(domains.CHARACTERS)]
TokenizerVocabulary = Annotated[int, Written(domains.TOKENIZER_VOCABULARY)]
