"""What evaluations read and take, by hand; and that the plan's counts are those of the code that evaluates."""

from __future__ import annotations

import math
from typing import Any

import pytest

from stages.contract import cost, duration, evaluations, hardware
from stages.contract.evaluations import Rows
from stages.contract.hardware import Hardware
from stages.data.generated.digits import WORDS
from stages.plan.pipeline import as_json, plan_pipeline
from stages.spec.language_model import LanguageModel
from stages.spec.project import Project
from stages.spec.resolved import Stage

LONG = 2**20


@pytest.fixture
def h100(project: Project) -> Hardware:
    return hardware.load(project.files, "h100")


@pytest.fixture
def cpt_1m(project: Project) -> Stage:
    return project.resolve("llama31_1m", "paper").stages["cpt_1m"]


def once(stage: Stage, machine: Hardware, project: Project) -> evaluations.Evaluated:
    return evaluations.once(stage, stage.phases, machine, duration.document_lengths(project.data), project.data)


def read(stage: Stage, project: Project, machine: str = "h100") -> list[Rows]:
    assumed = hardware.load(project.files, machine).assumed(duration.document_lengths(project.data))
    return list(evaluations.rows(stage, project.data, assumed))


def llm(stage: Stage) -> LanguageModel:
    model = stage.modules["llm"]
    assert isinstance(model, LanguageModel)
    return model


def named(stage: Stage, *names: str, **execution: Any) -> Stage:
    asked = stage.evaluation.model_copy(update={"names": names})
    changed = stage.execution.model_copy(update=execution)
    return stage.model_copy(update={"evaluation": asked, "execution": changed})


def test_as_many_words_are_counted_as_may_answer() -> None:
    assert len(WORDS) == evaluations.WORDS


def test_rows_of_a_million_tokens_are_read_whole(cpt_1m: Stage, project: Project) -> None:
    """Two of each corpus, four by position, and ten needles of each length."""
    found = read(cpt_1m, project)
    corpora = [one for one in found if one.source is not None]
    assert {(one.count, one.length) for one in corpora} == {(2, LONG)}
    assert [one.source for one in corpora] == list(cpt_1m.phases[0].sources)
    assert found[len(corpora) :] == [Rows(4, LONG), Rows(10, LONG // 4), Rows(10, LONG // 2), Rows(10, LONG)]


def test_a_row_takes_a_forward_pass_of_all_ranks_of_a_model(cpt_1m: Stage, project: Project, h100: Hardware) -> None:
    stage = named(cpt_1m, "position_loss")
    each = cost.language_model(llm(stage), LONG).flops(False, False)
    found = once(stage, h100, project)
    assert found.flops == pytest.approx(4 * LONG * each)
    assert found.seconds == pytest.approx(4 * LONG * each / (h100.peak * h100.mfu * stage.execution.ranks))


def test_replicas_without_a_row_wait(cpt_1m: Stage, project: Project, h100: Hardware) -> None:
    """Four rows for eight replicas take as long as for four."""
    four, eight = (once(named(cpt_1m, "position_loss", ranks=128 * n), h100, project) for n in (4, 8))
    assert (
        four.seconds == eight.seconds == pytest.approx(once(named(cpt_1m, "position_loss"), h100, project).seconds / 4)
    )


def test_a_pipelines_ranks_wait_for_the_first_row(cpt_1m: Stage, project: Project, h100: Hardware) -> None:
    """Two stages and four rows: a quarter more."""
    layout = cpt_1m.execution.parallel
    assert layout is not None
    apart = named(cpt_1m, "position_loss", ranks=256, parallel=layout.model_copy(update={"pp": 2}))
    alone = once(named(cpt_1m, "position_loss"), h100, project).seconds
    assert once(apart, h100, project).seconds == pytest.approx(alone / 2 * 1.25)


def test_a_reply_is_as_many_passes_as_it_has_tokens(project: Project, h100: Hardware) -> None:
    """Conversations of 75 tokens: replies of up to 1.5 times half of that, behind prompts of the other half."""
    stages = project.resolve("llama31_1m", "mini").stages
    *_, replies = [one for one in read(named(stages["sft_32k"], "answers"), project) if one.times > 1]
    mean = duration.document_lengths(project.data)["instruct"]
    assert (replies.count, replies.length, replies.times) == (8, math.ceil(1.25 * mean), math.ceil(0.75 * mean))
    both = [
        one.source.corpus for one in read(named(stages["sft_1m"], "answers"), project) if one.times > 1 and one.source
    ]
    assert both == ["instruct"], "the conversations of long_instruct are too long to be asked"


def test_replies_of_conversations_of_unknown_length_fill_their_room(project: Project, h100: Hardware) -> None:
    stage = project.resolve("llama31_1m", "paper").stages["sft_32k"]
    *_, replies = read(named(stage, "answers"), project)
    assert (replies.count, replies.length, replies.times) == (8, 256, 192)
    more = once(named(stage, "answers", "validation_loss"), h100, project)
    assert more.flops == once(named(stage, "answers"), h100, project).flops, "losses of answers are computed once"
    each = cost.language_model(llm(stage), 256).flops(False, False)
    (rows, _), alone = read(named(stage, "answers"), project), once(named(stage, "validation_loss"), h100, project)
    assert more.flops - alone.flops == pytest.approx(192 * 8 * 256 * each)
    assert rows.times == 1


def test_a_question_about_an_image_is_ten_rows(project: Project) -> None:
    """At mini of the corpus's mean length; at paper one image of 32 x 32 patches, four to a token, and as much text."""
    for scale, machine, corpus, count, length in (
        ("mini", "laptop_cpu", "digit_qa", 96, 31),
        ("paper", "h100", "kimi_captions", 1024, 512),
    ):
        stage = project.resolve("kimi_vl", scale).stages["vit_align"]
        (asked,) = read(named(stage, "digit_questions"), project, machine)
        assert asked.source is not None
        assert (asked.source.corpus, asked.count, asked.length, asked.times) == (corpus, 10, length, count)


def test_pairs_are_embedded_once_for_each_evaluation(project: Project, h100: Hardware) -> None:
    """256 for digits, however few samples there are; the captions' loss is of the validation alone."""
    stage = project.resolve("kimi_vl", "mini").stages["vit_coca"]
    found = {name: once(named(stage, name), h100, project).flops for name in stage.evaluation.names}
    assert found["zero_shot"] == pytest.approx(256 / stage.evaluation.samples * found["retrieval"])
    assert found["validation_loss"] > found["retrieval"] > 0
    together = once(stage, h100, project)
    assert together.flops == pytest.approx(sum(found.values()))
    assert together.seconds >= together.flops / (h100.peak * h100.mfu)


def test_a_batch_has_as_many_rows_as_fit_and_an_interleaved_pipeline_whole_rounds(cpt_1m: Stage) -> None:
    alone = named(cpt_1m, parallel=None, engine="torch", ranks=1)
    short = evaluations._batches(alone, Rows(9, evaluations.EVALUATED // 2))
    assert short == evaluations._Batches(passes=5, rows=9, ranks=1, wait=0.0)
    assert evaluations._batches(alone, Rows(9, 2 * evaluations.EVALUATED)).passes == 9
    layout = cpt_1m.execution.parallel
    assert layout is not None
    interleaved = named(cpt_1m, ranks=256, parallel=layout.model_copy(update={"pp": 2, "vpp": 4}))
    assert evaluations._batches(interleaved, Rows(3, LONG)) == evaluations._Batches(4, 4, ranks=256, wait=1 / (4 * 4))


def test_the_torch_engines_first_rank_computes_alone(cpt_1m: Stage, project: Project, h100: Hardware) -> None:
    one, eight = (
        once(named(cpt_1m, "position_loss", parallel=None, engine="torch", ranks=n), h100, project) for n in (1, 8)
    )
    assert one.seconds == eight.seconds > 0


def test_the_plan_has_them_beside_the_total(project: Project, h100: Hardware, cpt_1m: Stage) -> None:
    plan = plan_pipeline(project, "llama31_1m", "paper", h100)
    (stage,) = [one for one in plan.stages if one.ref.endswith("cpt_1m")]
    assert stage.evaluation is not None
    assert stage.evaluation.seconds == 2 * once(cpt_1m, h100, project).seconds
    assert stage.evaluation.device_seconds == 128 * stage.evaluation.seconds
    assert plan.device_hours == sum(phase.device_seconds for one in plan.stages for phase in one.phases) / 3600
    told = as_json(plan)
    assert told["totals"]["evaluation_device_hours"] == plan.evaluation_hours > 0
    assert told["stages"][3]["evaluation"]["seconds"] == stage.evaluation.seconds
    imported, export = told["stages"][0], told["stages"][-1]
    assert 65e9 < imported["evaluation"]["memory_bytes"] < h100.memory, "rows of 131,072 tokens, in one piece"
    assert "evaluation" not in export, "which names none"
