"""`stages adopt`: the figures of a recipe are those of its specs, each with its lines or what stands for it."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
import yaml

from stages.audit import curve, run
from stages.audit.adopt.page import names as adopt_names
from stages.audit.adopt.parts import OPTIMIZER
from stages.audit.family import READ
from stages.audit.figures import batches_differ, first_step, last_step
from stages.audit.recipe import Pipeline, Stage
from stages.audit.tuning import adoptable
from stages.check import run as check
from stages.check.findings import unwaived
from stages.commands.adopt import adopt
from stages.contract import schedule
from stages.spec import resolved as specs
from stages.spec.project import Project
from stages.spec.resolved_pipeline import ResolvedPipeline
from tests.edits import edit, replaced
from tests.unit.audit.planted import SOUND


@pytest.mark.slow
def test_every_sound_recipe_is_adopted_and_only_what_it_does_not_say_is_a_finding(project: Path) -> None:
    adapters_alone = {"factory_adapter", "factory_adapters", "factory_merged"}
    names = [folder.name for folder in sorted(SOUND.iterdir()) if folder.name not in adapters_alone]
    for name in names:
        adopt([SOUND / name], name)
    loaded = Project.load(project)
    for name in names:
        found = [one for one in unwaived(check.run(loaded, name, ())) if one.stage.partition("/")[0] == name]
        assert found, "no recipe says everything"
        assert {one.id for one in found} == {"S-13"}
        assert the_same_numbers(adoptable(run.read([SOUND / name]))[0], loaded.resolve(name, name)), name


def the_same_numbers(recipe: Pipeline, resolved: ResolvedPipeline) -> int:
    """Compares every figure that a recipe says with what its specs resolve to; how many were compared."""
    named, compared = adopt_names(recipe), 0
    for stage in recipe.stages:
        made, (model,) = resolved.stages[named[stage.name]], resolved.stages[named[stage.name]].modules.values()
        fields = {READ.get(one, one): getattr(model, one) for one in type(model).model_fields}
        fields |= {one: getattr(made.optimizer, one) for one in OPTIMIZER} | {"rope_base": made.rope and made.rope.base}
        fields |= {"context": made.phases[0].context, "batch": made.phases[0].batch[-1].sequences}
        for figure, value in fields.items():
            said = stage.number(figure)
            if said is not None and not (figure == "clip" and said == 0):
                assert said == value, (stage.name, figure)
                compared += 1
        first, last, tokens = first_step(stage), last_step(stage), stage.count("tokens")
        if tokens and first is not None and last is not None and first < last and not batches_differ(stage):
            assert made.budget == tokens, stage.name
            compared += the_same_rates(stage, made, first, last)
        edge = recipe.parent(stage)
        assert made.parents == (() if edge is None else (f"{made.pipeline}/{named[edge.parent.name]}",))
    return compared


def the_same_rates(stage: Stage, made: specs.Stage, first: int, last: int) -> int:
    """Compares the rate at the ends of a run and at borders of its schedule, and between them."""
    shape, size = curve.of(stage), made.budget // (last - first)
    if shape is None or made.schedule is None:
        return 0
    borders = {first + 1, last, *(one for one in (shape.warmup, shape.start, shape.end) if first < one <= last)}
    for step in sorted({*borders, *((one + two) // 2 for one, two in itertools.pairwise(sorted(borders)))}):
        rate = shape.at(step)
        whole = shape.shape != "half_cosine" and first <= shape.start and shape.end <= last
        if rate is None or (shape.shape.endswith("cosine") and not whole and shape.start < step < shape.end):
            continue  # a part of a curve that has no name here is marked
        clock = made.phases[0].clock_start + (step - first) * size
        assert schedule.lr(made.schedule, clock) == pytest.approx(rate, rel=1e-5, abs=1e-12), (stage.name, step)
    return len(borders)


def test_steps_rates_and_hand_overs_are_the_recipes_with_their_lines(project: Path) -> None:
    adopt([SOUND / "megatron_finetune"], "mine")
    resolved = Project.load(project).resolve("mine", "mine")
    pretrain, anneal = resolved.stages["pretrain"], resolved.stages["anneal"]
    assert [one.phases[0].budget for one in (pretrain, anneal)] == [10_000 * 512 * 4096, 1200 * 256 * 8192]
    assert [(one.parent, one.child) for one in resolved.edges] == [("mine/pretrain", "mine/anneal")]
    rates = [
        (piece.shape, piece.first, piece.last)
        for one in (pretrain, anneal) if one.schedule for piece in one.schedule.pieces
    ]  # fmt: skip
    assert rates == [("linear", 0, 3e-4), ("cosine", 3e-4, 3e-5), ("linear", 0, 3e-5), ("linear", 3e-5, 0)]
    text = (project / "specs/mine/pretrain.yaml").read_text()
    assert '  - covers: [phases.main.context]\n    mark: published\n    citation: "pretrain.sh:16 --seq-length"' in text
    models = next(one for one in yaml.safe_load((project / "specs/mine/pipeline.yaml").read_text())["sources"]
                  if one["mark"] == "unknown")  # fmt: skip
    assert models["covers"] == ["models.model.vocab", "models.model.norm_eps", "models.model.init_std"]


def test_a_mixture_that_changes_at_a_step_is_a_phase_of_its_own(project: Path) -> None:
    adopt([SOUND / "nanotron"], "mine")
    phases = Project.load(project).resolve("mine", "mine").stages["stable"].phases
    assert [(one.name, one.budget) for one in phases] == [
        ("main", 40_000 * 256 * 2048), ("part_2", 20_000 * 256 * 2048),
    ]  # fmt: skip
    assert [len(one.sources) for one in phases] == [2, 3]


def test_a_set_that_is_listed_twice_is_one_corpus_with_both_shares(project: Path) -> None:
    recipes = project / "recipes"
    recipes.mkdir()
    text = (SOUND / "factory/pretrain.yaml").read_text()
    (recipes / "pretrain.yaml").write_text(replaced(text, "dataset: web", "dataset: web,code,web"))
    adopt([recipes], "mine")
    made = yaml.safe_load((project / "specs/data/mixtures.yaml").read_text())["mixtures"]["mine_pretrain"]
    assert {one["corpus"]: one["share"] for one in made["sources"]} == {"mine_web": "66.6667%", "mine_code": "33.3333%"}


def marks(project: Path, *files: str) -> dict[str, tuple[str, str]]:
    """The mark of each figure in files of the adopted pipeline, and what it says."""
    found: dict[str, tuple[str, str]] = {}
    for file in files:
        for one in yaml.safe_load((project / f"specs/mine/{file}.yaml").read_text())["sources"]:
            said = one.get("citation") or one["reason"]
            found |= dict.fromkeys(one["covers"], (one["mark"], said))
    return found


def test_a_batch_that_grows_is_written_with_its_schedule_in_tokens(project: Path) -> None:
    """64 to 512 sequences in seven increments over 100,000 samples; a warm-up of 20,000, rows of 2,048."""
    adopt([SOUND / "megatron_samples"], "mine")
    stage = Project.load(project).resolve("mine", "mine").stages["run"]
    (phase,) = stage.phases
    steps = [(one.after, one.sequences) for one in phase.batch]
    assert steps == [(-(-100_000 * number // 7) * 2048, 64 * (number + 1)) for number in range(8)]
    assert phase.budget == 512 * 4000 * 2048
    assert stage.schedule is not None
    ends = [(piece.end, piece.last) for piece in stage.schedule.pieces]
    assert ends == [(20_000 * 2048, 1e-3), (512 * 4000 * 2048, 1e-4)]
    found = marks(project, "run", "pipeline")
    assert found["phases.main.batch"] == ("derived", "follows from run.sh:12 --rampup-batch-size")
    assert {found[one][0] for one in ("phases.main.budget", "schedules.run")} == {"derived"}


def test_a_batch_that_grows_over_what_nobody_knows_is_marked(project: Path) -> None:
    recipes = project / "recipes"
    recipes.mkdir()
    text = (SOUND / "megatron_samples/run.sh").read_text()
    (recipes / "run.sh").write_text(replaced(text, "64 64 100000", "64 64 $OVER"))
    adopt([recipes], "mine")
    found = marks(project, "run", "pipeline")
    grown = ("phases.main.batch", "phases.main.budget", "schedules.run")
    assert [found[one][0] for one in (*grown, "phases.main.context")] == ["unknown"] * 3 + ["published"]


def test_checkpoints_are_as_often_as_the_recipes_and_within_the_run(project: Path) -> None:
    recipes = project / "recipes"
    shutil.copytree(SOUND / "megatron_finetune", recipes)
    anneal = recipes / "anneal.sh"
    edit(anneal, "--train-iters 1200", "--train-iters 90")
    adopt([recipes], "mine")
    every = {name: Project.load(project).resolve("mine", "mine").stages[name].execution.checkpoint_every
             for name in ("pretrain", "anneal")}  # fmt: skip
    assert every == {"pretrain": 500, "anneal": 45}
    assert marks(project, "pretrain")["execution.checkpoint_every"][0] == "published"


def test_a_published_model_has_its_sizes_and_a_converted_one_its_source(project: Path) -> None:
    recipes = project / "recipes"
    shutil.copytree(SOUND / "factory_streamed", recipes)
    text = recipes / "text.yaml"
    edit(text, "somebody/base", "Qwen/Qwen2.5-1.5B")
    adopt([recipes], "mine")
    made = yaml.safe_load((project / "specs/mine/pipeline.yaml").read_text())["models"]["model"]
    assert [made[one] for one in ("layers", "hidden", "ffn", "heads", "kv_heads", "tied")] == [
        28, 1536, 8960, 12, 2, True,
    ]  # fmt: skip
    said = ("assumed", "not in text.yaml; the default of qwen2.5-1.5b, as it was published")
    assert marks(project, "pipeline")["models.model.layers"] == said
    adopt([SOUND / "megatron_converted"], "other")
    sources = {yaml.safe_load(one.read_text())["source"] for one in (project / "specs/releases").iterdir()}
    assert sources == {"Qwen/Qwen2.5-1.5B", "/hub/Llama-3.1-8B"}
