"""The builders of corpora: what each makes, what it needs, and what may be declared of a user's own files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stages.spec import domains

PICTURE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")
COLUMNS: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "messages": ("messages", "tools"),
    "sharegpt": ("conversations", "system", "tools"),
    "alpaca": ("instruction", "input", "output", "system", "history"),
    "prompt_completion": ("prompt", "completion", "tools"),
    "pictures": ("image", "text"),
    "interleaved": ("content",),
}
PAIRED = "preference "  # before the name of a shape of which a row has two: with a chosen and a rejected answer
COLUMNS |= {  # with `chosen` and `rejected` in place of the column that has one answer
    f"{PAIRED}{name}": (*(one for one in COLUMNS[name] if one != answer), "chosen", "rejected")
    for name, answer in (("messages", "messages"), ("alpaca", "output"), ("prompt_completion", "completion"))
}
PICTURE_ROWS = ("interleaved", "messages")  # rows of builder pictures that are more than a picture and its caption
FILES_ONLY = {  # what may be declared about a user's own files, and the builders of which it may be declared
    "root": ("file", "pictures", "megatron"),
    "rows": ("file", "pictures"),
    "pixels": ("pictures",),
    "columns": ("file", "pictures"),
    "extensions": ("pictures",),
    "on_bad_row": ("file", "pictures"),
    "duplicates": ("file", "pictures"),
    "answers": ("file",),
    "without": ("file",),
    "decontaminate": ("file",),
    "unknown": ("file", "pictures", "megatron"),
}
PARAMETERS = {
    "count": domains.DRAWN,
    "questions": domains.DRAWN,
    "least_characters": domains.CHARACTERS_OR_NONE,
    "most_characters": domains.CHARACTERS,
    "answer_characters": domains.CHARACTERS,
    "least_frames": domains.FRAMES,
    "most_frames": domains.FRAMES,
    "cell": domains.PIXELS,
    "patch": domains.PIXELS,
    "channels": domains.CHANNELS,
    "side": domains.PIXELS,
}


@dataclass(frozen=True)
class Builder:
    """What a builder makes (`kinds`), and which parameters it needs."""

    kinds: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    needs: Literal["packages", "path", "prefix"] | None = "packages"


_LENGTHS = ("least_characters", "most_characters")
_DRAWN = ("count", "cell", "patch", "channels")
BUILDERS = {
    "prose": Builder(("text",), _LENGTHS),
    "code": Builder(("text",), _LENGTHS),
    "long": Builder(("text",), _LENGTHS),
    "instruct": Builder(("sft",), ("answer_characters",)),
    "long_instruct": Builder(("sft",), ("answer_characters", *_LENGTHS, "questions")),
    "math": Builder(("text",), ("count",), None),
    "reasoning": Builder(("sft",), ("count",), None),
    "captions": Builder(("multimodal",), _DRAWN),
    "digit_qa": Builder(("multimodal",), _DRAWN),
    "clips": Builder(("multimodal",), (*_DRAWN, "least_frames", "most_frames")),
    "pairs": Builder(("pairs",), _DRAWN),
    "file": Builder(("text", "sft", "preference"), (), "path"),
    "pictures": Builder(("multimodal", "pairs"), ("cell", "patch", "channels", "side"), "path"),
    "megatron": Builder(("text",), (), "prefix"),
}
OWN = ("file", "pictures", "megatron")  # builders that read a user's own files
