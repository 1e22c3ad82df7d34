"""Rotary positions in a released config.json: base, scaling and every factor, in the forms of transformers 4 and 5.

transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5 `rope_parameters`, which families with local
layers divide by kinds of layers. What a version would read otherwise than the stage's `rope` says is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stages.models.hf_rope import rope_scaling, usual_yarn
from stages.models.release_values import NOTHING, Wrong, equal
from stages.spec.language_model import ALL_KEYS, LOCAL_KEYS, LanguageModel
from stages.spec.resolved_models import Rope

TOGETHER = "and none below the other: versions of transformers that write one for all layers scale all of them"
OLD_BASE = "since transformers 4 reads no `rope_theta` in `rope_scaling`. State it beside, or download the file again"


def local_layers(config: dict[str, Any], model: LanguageModel) -> Iterator[Wrong]:
    """Positions of local layers are never scaled; of "unscaled" ones the base is the stage's (see `positions`)."""
    form = config.get("rope_parameters")
    local = form.get(LOCAL_KEYS) if isinstance(form, dict) else None
    if not isinstance(form, dict):
        return
    if model.parts.local_base == "unscaled" and form.get("rope_type", "default") != "default":
        yield Wrong("rope_parameters.rope_type", form["rope_type"], f"scaling below {ALL_KEYS!r}", TOGETHER)
    if isinstance(form.get(ALL_KEYS), dict):
        for key in sorted(key for key in set(form) - {ALL_KEYS, LOCAL_KEYS} if form[key] is not None):
            yield Wrong(f"rope_parameters.{key}", form[key], f"nothing beside {ALL_KEYS!r} and {LOCAL_KEYS!r}")
    if not isinstance(local, dict):
        return
    at = f"rope_parameters.{LOCAL_KEYS}"
    if model.parts.local_base is None:
        yield Wrong(at, local, "nothing: all layers have the same positions")
        return
    for key in sorted(set(local) - {"rope_theta"}):
        if key != "rope_type" or local[key] != "default":
            yield Wrong(f"{at}.{key}", local[key], "'default', and no scaling")
    if model.parts.local_base == "unscaled":
        main, own = form.get(ALL_KEYS), local.get("rope_theta", NOTHING)
        base = main.get("rope_theta") if isinstance(main, dict) else config.get("rope_theta")
        if own != base:
            yield Wrong(f"{at}.rope_theta", own, repr(base))


def positions(config: dict[str, Any], rope: Rope, head_dim: int, max_context: int, usual: float) -> Iterator[Wrong]:
    """Base, kind and every factor of all layers; a field that is not known there is refused.

    `head_dim` counts the channels that are rotated; `usual` is the base that transformers takes where none is stated.
    """
    wanted: dict[str, Any] = {"rope_type": "default", **(rope_scaling(rope, head_dim, max_context) or {})}
    forms = {name: config[name] for name in ("rope_parameters", "rope_scaling") if config.get(name) not in (None, {})}
    for name, form in forms.items():
        if not isinstance(form, dict):
            yield Wrong(name, form, "an object", "as transformers writes it. Download the file again")
            return
    beside = {"rope_theta": config["rope_theta"]} if config.get("rope_theta") is not None else {}
    inside = {  # transformers takes its own base for a form without one, whatever another form says
        f"{name}.rope_theta": form.get("rope_theta", NOTHING)
        for name, form in forms.items()
        if "rope_theta" in form or not beside
    }
    if inside.keys() == {"rope_scaling.rope_theta"} and not beside and not equal(usual, rope.base):
        yield Wrong("rope_theta", NOTHING, repr(rope.base), OLD_BASE)
    for field, found in ({**beside, **inside} or {"rope_theta": NOTHING}).items():
        if not equal(usual if found is NOTHING else found, rope.base):
            yield Wrong(field, found, repr(rope.base))
    if not forms and wanted != {"rope_type": "default"}:
        yield Wrong("rope_scaling", config.get("rope_scaling", NOTHING), repr(wanted))
    for name, form in forms.items():
        yield from _scaling(name, form, wanted, max_context)


def _scaling(name: str, form: dict[str, Any], wanted: dict[str, Any], max_context: int) -> Iterator[Wrong]:
    """One form of scaling, `name` in config.json, compared with the form that is wanted."""
    kind_field = "rope_type" if "rope_type" in form else "type"
    here = {key: value for key, value in form.items() if key not in ("type", "rope_theta") and value is not None}
    here["rope_type"] = form.get(kind_field, "default")
    if "type" in form and form["type"] != here["rope_type"]:
        yield Wrong(
            f"{name}.type", form["type"], repr(here["rope_type"]), "as `rope_type` beside it. Download the file again"
        )
    if here["rope_type"] == wanted["rope_type"] == "yarn":
        here, wanted = usual_yarn(here, max_context), usual_yarn(wanted, max_context)
    if here.get("partial_rotary_factor") == 1.0:
        del here["partial_rotary_factor"]
    for key in sorted(here.keys() | wanted.keys()):
        found, want = here.get(key, NOTHING), wanted.get(key, NOTHING)
        if not equal(found, want):
            field = f"{name}.{kind_field if key == 'rope_type' else key}"
            yield Wrong(field, found, "nothing" if want is NOTHING else repr(want))
