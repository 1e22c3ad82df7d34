"""What `init` of a stage's spec may contain: where weights, optimizer state, clock and data come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from stages.spec import copies, quantities, units
from stages.spec.fields import AverageDecay, MergedShare, Raw, Reason
from stages.spec.names import PATTERN, Name, is_name, no_name

UPCYCLED = ("concatenate", "interleave", copies.EXPERTS)
AT = "@"  # in `from`: between a stage and how many of its tokens are consumed


def _weights(value: object) -> object:
    """One module's weights as text: fresh, inherit, average, release:<name>, upcycle:<how>, extend:<rule>."""
    if isinstance(value, dict) and len(value) == 1:
        ((kind, name),) = value.items()
        if kind == "release" and is_name(name):
            return f"release:{name}"
        if kind == "release":
            raise no_name(name)
        if kind == "upcycle" and (name in UPCYCLED or copies.is_written(str(name))):
            return f"upcycle:{name}"
        if kind == "extend" and name in ("mean", "fresh"):
            return f"extend:{name}"
    if value in ("fresh", "inherit", "average"):
        return value
    raise quantities.BadQuantity(
        _one_choice(value) or quantities.describe(value),
        "inherit, fresh, average, {release: name}, {upcycle: concatenate | interleave | layers such as 0-23 + 8-31 | "
        "experts} or {extend: mean | fresh}",
        "Say where the weights come from.",
    )


def _one_choice(value: object) -> str:
    """{upcycle: twice} as it is written; empty for what is no such mapping."""
    if not isinstance(value, dict) or len(value) != 1:
        return ""
    ((kind, name),) = value.items()
    return f"{{{kind}: {name}}}" if isinstance(name, (str, int)) else ""


def _all_weights(value: object) -> object:
    if isinstance(value, dict) and not set(value) & {"release", "upcycle", "extend"}:
        return {module: _weights(weights) for module, weights in value.items()}
    return {"*": _weights(value)}


def _per_module(value: object) -> object:
    return value if isinstance(value, dict) else {"*": value}


class RawRelease(Raw):
    """Weights that somebody has released."""

    release: Name


_LAYERS = {"type": ["string", "integer"], "pattern": f"^({copies.RANGES})$"}


class RawUpcycling(Raw):
    """Weights of a smaller model, repeated: whole stacks, each layer, the layers that are written, or as experts."""

    upcycle: Literal["concatenate", "interleave", "experts"] | Annotated[str, WithJsonSchema(_LAYERS)]


class RawExtension(Raw):
    """The parent's weights with rows for new tokens: their mean, or as a fresh start draws them."""

    extend: Literal["mean", "fresh"]


Restored = Literal["inherit", "reset"]
_WHERE = "a stage, or a stage at a count of its tokens: stable_2@2.1T"
Origin = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": f"^{PATTERN}({AT}[0-9].*)?$", "description": _WHERE})
]
Parents = Annotated[dict[str, str], BeforeValidator(_per_module, json_schema_input_type=Origin | dict[Name, Origin])]
WrittenWeights = Literal["inherit", "average", "fresh"] | RawRelease | RawUpcycling | RawExtension
Weights = Annotated[
    dict[str, str], BeforeValidator(_all_weights, json_schema_input_type=WrittenWeights | dict[Name, WrittenWeights])
]
Restores = Annotated[
    dict[str, Restored], BeforeValidator(_per_module, json_schema_input_type=Restored | dict[Name, Restored])
]

Handed = Annotated[
    dict[str, Literal["inherit", "average"]],
    BeforeValidator(
        _per_module, json_schema_input_type=Literal["inherit", "average"] | dict[Name, Literal["inherit", "average"]]
    ),
]


class RawInit(Raw):
    """The edge, component by component; "*" stands for all modules."""

    from_: Parents = Field(alias="from", default_factory=dict)
    weights: Weights
    optimizer: Restores
    clock: Literal["continue", "reset"]
    data: Literal["continue", "restart"]
    reread: Reason | None = None  # why the lineage reads again, after a restart, what it has read


class RawPointer(Raw):
    """The edge of a keep stage: everything is the parent's."""

    from_: Origin = Field(alias="from")


class RawExported(RawPointer):
    """The edge of an export stage: the parent's last weights, or their average."""

    weights: Handed = Field(default_factory=dict)


class RawMergeInit(Raw):
    """The edges of a merge; nothing but weights is handed over."""

    from_: Annotated[list[Origin], AfterValidator(units.each_once), Field(json_schema_extra={"uniqueItems": True})] = (
        Field(alias="from", min_length=2)
    )
    weights: Literal["uniform", "weighted", "ema"]
    shares: dict[Origin, MergedShare] = Field(default_factory=dict)  # weighted: how much of each, in proportion
    decay: AverageDecay | None = None  # ema: what each later checkpoint leaves of the average so far

    @model_validator(mode="after")
    def _of_its_weights(self) -> RawMergeInit:
        """`shares` and `decay` are there exactly where they are read."""
        for key, given, wanted in (
            ("shares", bool(self.shares), self.weights == "weighted"),
            ("decay", self.decay is not None, self.weights == "ema"),
        ):
            if given != wanted:
                found = f"{'no ' if wanted else ''}`{key}` with weights: {self.weights}"
                allowed = "`shares` with weighted, `decay` with ema, and with no other"
                of = f"{{{', '.join(f'{one}: ...' for one in self.from_)}}}" if key == "shares" else "..."
                repair = f"Add `{key}: {of}`." if wanted else "Remove it."
                raise quantities.BadQuantity(found, allowed, repair, ("weights" if wanted else key,))
        return self
