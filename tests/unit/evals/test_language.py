import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stages.errors import UserError
from stages.evals import COMPUTED, Whole, run
from stages.evals.heldout import Heldout
from stages.evals.language import joined
from stages.evals.subject import Subject
from stages.spec.evaluations import EVALUATIONS
from stages.spec.resolved_models import Rope
from tests.families.test_gemma2 import TestGemma2 as Gemma2
from tests.unit.evals.stages_by_hand import COCA, JOINT, LLAMA, OURO, VOCAB, lively, made, phase, stage


def evaluate(of: Any, heldout: Heldout, **more: Any) -> dict[str, Any]:
    return run(Whole(of, made(of)), of, heldout, **more)


@pytest.mark.parametrize("model", [LLAMA, Gemma2.MODEL.model_copy(update={"vocab": VOCAB})])  # the latter's caps bind
def test_validation_loss_is_the_mean_over_all_supervised_held_out_tokens(heldout: Heldout, model: Any) -> None:
    of = stage({"llm": model}, ("validation_loss",), phase("text", "chats"))
    modules = lively(of)
    found = run(Whole(of, modules), of, heldout)["validation"]
    lm, total, count = modules["llm"], 0.0, 0
    for name in ("text", "chats"):
        for row in heldout.rows(name, 64, 3, True):
            for segment in range(len(row.spans)):  # one document at a time, without any mask
                mine = torch.from_numpy(row.segments == segment)
                tokens, labels = (torch.from_numpy(part)[mine][None] for part in (row.tokens, row.labels))
                with torch.no_grad():
                    logits = lm.logits(lm(tokens, torch.arange(tokens.shape[1])[None], None, None))
                total += F.cross_entropy(logits[0], labels[0], reduction="sum").item()
                count += int((labels != -100).sum())
    assert found["tokens"] == count
    assert found["loss"] == pytest.approx(total / count, rel=1e-5)


def test_without_a_document_mask_a_row_is_one_text(heldout: Heldout) -> None:
    joined = phase("chats").model_copy(update={"document_mask": False})
    of = stage({"llm": LLAMA}, ("validation_loss",), joined, context=128)
    modules = lively(of)
    found = run(Whole(of, modules), of, heldout)["validation"]
    lm, losses = modules["llm"], []
    for row in heldout.rows("chats", 128, 3, False):
        tokens, labels = torch.from_numpy(row.tokens)[None], torch.from_numpy(row.labels)
        with torch.no_grad():
            logits = lm.logits(lm(tokens, torch.arange(len(labels))[None], None, None))[0]
        losses.append(F.cross_entropy(logits, labels, reduction="none")[labels != -100])
    assert found["loss"] == pytest.approx(torch.cat(losses).mean().item(), rel=1e-5)


@pytest.mark.parametrize(("of", "name"), [(LLAMA, "validation_loss"), (OURO, "loops")])
def test_corpora_that_hold_out_less_than_a_row_are_named(heldout: Heldout, of: Any, name: str) -> None:
    with pytest.raises(UserError, match="text: too little is held out for one row of 100000 tokens; add documents"):
        evaluate(stage({"llm": of}, (name,), phase("text", context=100_000), context=100_000), heldout)


def test_a_corpus_that_holds_out_nothing_is_left_out_on_any_device() -> None:
    """Its losses were never computed: they are nowhere."""
    there, nothing = torch.ones(3, dtype=torch.float64, device="meta"), torch.empty(0)
    for corpora in ([nothing, there], [there, nothing]):
        found = joined(corpora)
        assert (found.shape, found.device.type) == ((3,), "meta")
    assert len(joined([nothing, nothing])) == 0


def test_position_buckets_cover_every_position_once(heldout: Heldout) -> None:
    of = stage({"llm": LLAMA}, ("position_loss",), phase("text"), context=32, old=12)
    found = evaluate(of, heldout)["positions"]
    assert [(bucket["from"], bucket["to"]) for bucket in found["buckets"]] == [
        (0, 4),
        (4, 8),
        (8, 12),
        (12, 16),
        (16, 32),
    ]
    assert [bucket["tokens"] for bucket in found["buckets"]] == [
        3 * (end - start) for start, end in ((0, 4), (4, 8), (8, 12), (12, 16), (16, 32))
    ]
    late = found["buckets"][3:]
    mean = sum(bucket["loss"] * bucket["tokens"] for bucket in late) / sum(bucket["tokens"] for bucket in late)
    assert found["beyond"] == pytest.approx(mean)


def test_losses_by_position_are_those_of_rows_read_alone(heldout: Heldout) -> None:
    """Of text, where there is text; a row's first token is no target."""
    of = stage({"llm": LLAMA}, ("position_loss",), phase("chats", "text"), context=32, old=12)
    modules = lively(of)
    found = run(Whole(of, modules), of, heldout)["positions"]
    losses = []
    for row in heldout.stretches(["text"], 33, 3):
        tokens = torch.from_numpy(np.asarray(row, dtype=np.int64))[None]
        with torch.no_grad():
            logits = modules["llm"].logits(modules["llm"](tokens[:, :-1], torch.arange(32)[None], None, None))
        losses.append(F.cross_entropy(logits[0], tokens[0, 1:], reduction="none"))
    by_place = torch.stack(losses).mean(0)
    for bucket in found["buckets"]:
        assert bucket["loss"] == pytest.approx(by_place[bucket["from"] : bucket["to"]].mean().item(), rel=1e-4)
    assert found["within"] == pytest.approx(by_place[:12].mean().item(), rel=1e-4)
    assert found["beyond"] == pytest.approx(by_place[12:].mean().item(), rel=1e-4)


def test_the_last_phase_says_how_often_a_model_is_looped(heldout: Heldout) -> None:
    of = stage({"llm": OURO}, ("loops",), phase("text", loops=2), phase("text", loops=3))
    assert list(evaluate(of, heldout)["loops"]) == ["1", "2", "3"]


def test_without_an_old_context_there_is_nothing_beyond_it(heldout: Heldout) -> None:
    of = stage({"llm": LLAMA}, ("position_loss",), phase("text"), context=32)
    assert "beyond" not in evaluate(of, heldout)["positions"]


def test_the_last_loop_is_the_validation_loss_of_ouro(heldout: Heldout) -> None:
    of = stage({"llm": OURO}, ("validation_loss", "loops"), phase("text", loops=3))
    found = evaluate(of, heldout)
    assert list(found["loops"]) == ["1", "2", "3"]
    assert found["loops"]["3"] == pytest.approx(found["validation"]["loss"])
    assert found["loops"]["1"] != found["loops"]["3"]


def test_a_stage_without_phases_is_evaluated_on_those_it_is_given(heldout: Heldout) -> None:
    of = stage({"llm": OURO}, ("loops",))
    assert list(evaluate(of, heldout, phases=[phase("text", loops=2)])["loops"]) == ["1", "2"]


def test_another_rope_changes_the_losses_and_is_taken_back(heldout: Heldout) -> None:
    of = stage({"llm": LLAMA}, ("validation_loss",), phase("text"))
    modules = made(of)
    for parameter in modules.parameters():  # at the start's small weights attention is too flat to depend on positions
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    own = run(Whole(of, modules), of, heldout)
    other = run(Whole(of, modules), of, heldout, rope_override=Rope(base=100.0, llama3=None, interpolation=4.0))
    assert other != own
    assert run(Whole(of, modules), of, heldout) == own


def test_evaluating_leaves_the_modules_as_they_were(heldout: Heldout) -> None:
    of = stage(JOINT, ("validation_loss", "digit_questions"), phase("questions"))
    modules = made(of)
    modules["llm"].train()
    modules["vit"].eval()
    before = {name: value.clone() for name, value in modules.state_dict().items()}
    run(Whole(of, modules), of, heldout)
    assert modules["llm"].training
    assert not modules["vit"].training
    assert all(torch.equal(value, before[name]) for name, value in modules.state_dict().items())
    assert all(parameter.grad is None for parameter in modules.parameters())


def test_results_are_plain_json_and_the_same_every_time(data_root: Path) -> None:
    stages = [
        stage(JOINT, ("validation_loss", "position_loss", "needle", "digit_questions"), phase("text", "questions")),
        stage({"llm": LLAMA}, ("answers",), phase("chats", objective="sft")),
        stage(COCA, ("validation_loss", "zero_shot", "retrieval"), phase("pairs", objective="coca"), samples=9),
    ]
    for of in stages:
        first, second = (evaluate(of, Heldout(data_root)) for _ in range(2))
        assert json.loads(json.dumps(first, allow_nan=False)) == second


def test_every_evaluation_that_a_spec_may_name_is_computed() -> None:
    assert list(COMPUTED) == list(EVALUATIONS)
    sections = [one.section for one in EVALUATIONS.values()]
    assert sorted(set(sections)) == sorted(sections), "two of one section would overwrite each other in eval.json"


def test_an_unknown_evaluation_is_refused_by_name(heldout: Heldout) -> None:
    with pytest.raises(UserError, match="p/s: evaluate: found vibes; allowed: validation_loss"):
        evaluate(stage({"llm": LLAMA}, ("vibes",), phase("text")), heldout)


@pytest.mark.parametrize("name", ["answers", "retrieval", "digit_questions"])
def test_an_evaluation_without_its_kind_of_corpus_says_what_it_needs(heldout: Heldout, name: str) -> None:
    assert name in COMPUTED
    with pytest.raises(UserError, match=r"needs a corpus of .*found text"):
        evaluate(stage({"llm": LLAMA}, (name,), phase("text")), heldout)


def test_long_rows_are_fewer_for_as_many_tokens(heldout: Heldout) -> None:
    of = stage({"llm": LLAMA}, ("validation_loss",), phase("text"), samples=32)
    subject = Subject(Whole(of, made(of)), of, of.phases, heldout)
    assert [subject.rows(length, fewest=4) for length in (128, 256, 512, 1024, 1 << 20)] == [32, 32, 16, 8, 4]
    assert subject.rows(2048, fewest=2) == 4
    assert subject.rows(1 << 20, fewest=2) == 2
