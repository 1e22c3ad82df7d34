"""Data sets with pictures, from rows as they are published to a step of a model, by a tokenizer with an image token."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
import torch

from stages.contract import ledger
from stages.data.corpus.prepared import Corpus
from stages.data.loading import document_view
from stages.data.loading.loader import PhaseData
from stages.data.tokens.tokenizer import of_corpus
from stages.data.tokens.tokenizer_use import FILE
from stages.models.build import build
from stages.spec.resolved_phases import BatchStep
from stages.train import objectives
from stages.train.replicated import gather
from tests.unit.data import published
from tests.unit.data.chats_with_pictures import publish
from tests.unit.data.own_files import run
from tests.unit.data.pictures_of_users import declare, jsonl, png
from tests.unit.data.small import Small
from tests.unit.data.test_known_data import Rows, converted, tables
from tests.unit.train import tiny
from tests.unit.train.beginning import begin


def llava(number: int) -> dict[str, Any]:
    """As LLaVA's json has it: the place of the picture is a word, first or last; some rows have no picture."""
    asked = (f"<image>\nWhat is {number}?", f"the cat {number}\n<image>", f"hello {number}?")[number % 3]
    said = [{"from": "human", "value": asked}, {"from": "gpt", "value": f"It is {number}."},
            {"from": "human", "value": "the mat?"}, {"from": "gpt", "value": "the cat sat"}]  # fmt: skip
    return {"id": str(number), "conversations": said, **({"image": f"{number}.png"} if number % 3 < 2 else {})}


def several(number: int) -> dict[str, Any]:
    """As LLaVA-NeXT-Interleave's: a list of pictures."""
    said = [
        {"from": "human", "value": f"<image><image>\nWhat is {number}?"},
        {"from": "gpt", "value": f"It is {number}."},
    ]
    return {"conversations": said, "image": [f"{number}.png", f"{(number + 1) % 24}.png"]}


def openai(number: int) -> dict[str, Any]:
    url = f"data:image/png;base64,{base64.b64encode(png(number)).decode()}" if number % 2 else f"{number}.png"
    asked = [{"type": "text", "text": "What is "}, {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]
    return {"messages": [{"role": "system", "content": "hello"}, {"role": "user", "content": asked},
                         {"role": "assistant", "content": [{"type": "text", "text": f"It is {number}."}]}]}  # fmt: skip


def interleaved(number: int) -> dict[str, Any]:
    said = [{"type": "text", "text": f"the cat {number}"}, {"type": "image", "image": f"{number}.png"}]
    return {
        "content": [*said, {"type": "text", "text": " sat on"}, {"type": "image", "image": f"{(number + 1) % 24}.png"}]
    }


CHATS, PARTS = "parts as OpenAI has them", "OBELICS and MMC4 as lists of parts"  # by whose lines of the page
LAYOUTS: dict[str, tuple[str, Rows, str]] = {
    "LLaVA": (CHATS, converted("llava", [llava(number) for number in range(24)]), "sft"),
    "several pictures": (CHATS, converted("llava", [several(number) for number in range(24)]), "joint"),
    "OpenAI": (CHATS, [openai(number) for number in range(24)], "joint"),
    "interleaved": (PARTS, [interleaved(number) for number in range(24)], "joint"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_become_a_step_of_a_model(project: Small, name: str) -> None:
    lines, found, objective = LAYOUTS[name]
    for number in range(24):
        (project.root / f"{number}.png").write_bytes(png(number))
    jsonl(project.root / "rows.jsonl", found)
    publish(project, published.CHATML)
    declare(project, **tables()[lines], tokenizer="mine")
    run(project)
    corpus, words = Corpus(project.data / "mine"), of_corpus(project.data / "mine", project.data / FILE)
    assert corpus.documents == 24
    image = words.roles.image
    assert image not in (None, 3), "no id of the local tokenizer"
    for number in range(corpus.documents):
        tokens = np.asarray(corpus.tokens[slice(*corpus.offsets[number : number + 2].tolist())])
        cells = sum(one.shape[0] * one.shape[1] // 64 for one in corpus.raw_pictures(number))
        assert np.count_nonzero(tokens == image) == cells
    assert not [stretch for number in range(24) for stretch in document_view.show(corpus, words, number).stretches
                if stretch.learned and (stretch.text == "<img>" or "<image>" in stretch.text)]  # fmt: skip
    source = project.source("mine")
    stage = tiny.make("joint")
    phase = stage.phases[0].model_copy(update={
        "objective": objective, "sources": (source,), "budget": 4 * 64, "context": 64, "packing": "whole",
        "batch": (BatchStep(after=0, sequences=4),),
    })  # fmt: skip
    modules = {key: one.model_copy(update={"vocab": words.vocab} if hasattr(one, "vocab") else {})
               for key, one in stage.modules.items()}  # fmt: skip
    stage = stage.model_copy(update={"phases": (phase,), "modules": modules})
    built = build(stage)
    optimizer, _ = begin(stage, built)
    step = objectives.make(
        stage, phase, built, PhaseData(phase, stage.seed, "p/s/main", project.data), torch.device("cpu")
    )
    gradients, values = gather(optimizer, step, ledger.step_at(phase, 0))
    assert all(torch.isfinite(value).all() for value in values)
    tower = [one for one, slot in zip(gradients, optimizer.slots, strict=True) if slot.name.startswith("vit")]
    assert all(torch.isfinite(one).all() for one in tower)
    assert any(one.abs().max() > 0 for one in tower)
