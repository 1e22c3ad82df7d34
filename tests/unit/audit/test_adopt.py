"""`stages adopt`: a recipe becomes specs that load, whose figures cite their lines, and that say what is unknown."""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path

import pytest
import yaml

from stages.audit import adopt_parts, curve, run
from stages.audit.adopt import names as adopt_names
from stages.audit.adopt_parts import OPTIMIZER
from stages.audit.family import READ, traits
from stages.audit.family import family as family_of
from stages.audit.figures import batches_differ, first_step, last_step
from stages.audit.recipe import Pipeline, Scalar, Stage, Value
from stages.audit.tuning import adoptable
from stages.check import run as check
from stages.check.findings import unwaived
from stages.commands.adopt import adopt
from stages.contract import schedule
from stages.errors import UsageError, UserError, Where
from stages.scaffold import init
from stages.spec import resolved as specs
from stages.spec.names import LONGEST
from stages.spec.project import Project, ResolvedPipeline
from tests.unit.audit.planted import SOUND


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return init.create(tmp_path_factory.mktemp("made") / "project", "tiny")


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project, which is the working directory."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def written(project: Path) -> dict[str, bytes]:
    return {str(path.relative_to(project)): path.read_bytes() for path in project.rglob("specs/**/*") if path.is_file()}


@pytest.mark.slow
def test_every_sound_recipe_is_adopted_and_only_what_it_does_not_say_is_a_finding(project: Path) -> None:
    names = [folder.name for folder in sorted(SOUND.iterdir()) if folder.name != "factory_adapter"]
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
        fields |= {"context": made.phases[0].context, "batch": made.phases[0].batch[0].sequences}
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


@pytest.mark.parametrize(
    ("framework", "figures", "family", "open_"),
    [
        ("megatron-lm", {"layers": 2, "gated": True}, "llama", False),
        ("megatron-lm", {"layers": 2}, "llama", True),  # feed-forward parts without a gate
        ("megatron-lm", {"layers": 2, "gated": True, "qk_norm": True}, "qwen3", False),
        ("megatron-lm", {"layers": 2, "gated": True, "qkv_bias": True}, "qwen2", False),
        ("megatron-lm", {"layers": 2, "gated": True, "qkv_bias": True, "hidden": 8, "heads": 2, "head_dim": 8}, "llama",
         True),
        ("megatron-lm", {"layers": 2, "experts": 8, "qk_norm": True}, "qwen3_moe", False),
        ("megatron-lm", {"layers": 2, "experts": 8, "expert_ffn": 4}, "qwen3_moe", True),
        ("megatron-lm", {"layers": 2, "experts": 8, "latent": True}, "moonlight", False),
        ("llama-factory", {"pretrained": "Qwen/Qwen2.5-7B"}, "qwen2", False),
        ("transformers", {"pretrained": "Qwen/Qwen3-30B-A3B"}, "qwen3_moe", False),
        ("axolotl", {"architecture": "MistralForCausalLM"}, "mistral", False),
        ("axolotl", {"pretrained": "mistralai/Mixtral-8x7B"}, "olmoe", True),
        ("axolotl", {"pretrained": "Qwen/Qwen2-57B-A14B"}, "olmoe", True),
        ("olmo-core", {"architecture": "olmo3"}, "olmo3", False),
        ("transformers", {"pretrained": "google/gemma-2-9b"}, "gemma2", False),
        ("megatron-bridge", {"recipe": "megatron.bridge.recipes.deepseek.deepseek_v3_config"}, "moonlight", False),
        ("torchtitan", {}, "llama", True),
    ],
)  # fmt: skip
def test_the_family_is_what_switches_build_or_what_a_name_says(
    framework: str, figures: dict[str, Scalar], family: str, open_: bool
) -> None:
    here = Where("a", 1)
    stage = Stage("a", framework, here, {key: Value(one, here, key) for key, one in figures.items()})
    found = family_of(stage)
    assert (found.name, found.open) == (family, open_)


def test_a_mixture_that_changes_at_a_step_is_a_phase_of_its_own(project: Path) -> None:
    adopt([SOUND / "nanotron"], "mine")
    phases = Project.load(project).resolve("mine", "mine").stages["stable"].phases
    assert [(one.name, one.budget) for one in phases] == [
        ("main", 40_000 * 256 * 2048), ("part_2", 20_000 * 256 * 2048),
    ]  # fmt: skip
    assert [len(one.sources) for one in phases] == [2, 3]


def test_what_does_not_load_is_said_with_the_line_that_is_not_there_any_more(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written(project)
    traits()  # is cached, and reads the same table
    monkeypatch.setitem(adopt_parts.MODEL, "vocab", 0)
    with pytest.raises(UserError, match=r"nothing was written: .*pipeline.yaml would not load at line .* `vocab: 0`"):
        adopt([SOUND / "factory"], "mine")
    assert written(project) == before


def test_other_scales_are_as_they_were(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys, scale = Project.load(project).keys("mini"), project / "specs/scales/mini.yaml"
    before = scale.read_text()
    adopt([SOUND / "megatron_finetune"], "mine")
    assert "specs/scales/mini.yaml: its `pipelines` names those that were at this scale" in capsys.readouterr().out
    assert scale.read_text() == before.replace("pipelines: identity", "pipelines: {tiny: identity}")
    loaded = Project.load(project)
    assert (loaded.pipelines(variants=True, scale="mini"), loaded.keys("mini")) == (["tiny"], keys)
    adopt([SOUND / "nanotron"], "other")
    assert "mini.yaml" not in capsys.readouterr().out


def test_steps_rates_and_hand_overs_are_the_recipes_with_their_lines(project: Path) -> None:
    adopt([SOUND / "megatron_finetune"], "mine")
    resolved = Project.load(project).resolve("mine", "mine")
    pretrain, anneal = resolved.stages["pretrain"], resolved.stages["anneal"]
    assert [one.phases[0].budget for one in (pretrain, anneal)] == [10_000 * 512 * 4096, 1200 * 256 * 8192]
    assert [(one.parent, one.child) for one in resolved.edges] == [("mine/pretrain", "mine/anneal")]
    rates = [(piece.shape, piece.first, piece.last) for one in (pretrain, anneal) for piece in one.schedule.pieces]
    assert rates == [("linear", 0, 3e-4), ("cosine", 3e-4, 3e-5), ("linear", 0, 3e-5), ("linear", 3e-5, 0)]
    text = (project / "specs/mine/pretrain.yaml").read_text()
    assert '  - covers: [phases.main.context]\n    mark: published\n    citation: "pretrain.sh:16 --seq-length"' in text
    models = next(one for one in yaml.safe_load((project / "specs/mine/pipeline.yaml").read_text())["sources"]
                  if one["mark"] == "unknown")  # fmt: skip
    assert models["covers"] == ["models.model.vocab", "models.model.norm_eps", "models.model.init_std"]


def test_a_run_that_goes_on_along_its_parents_schedule_has_its_clock(project: Path) -> None:
    text = (SOUND / "megatron_override/one.sh").read_text()
    recipes = project / "recipes"
    recipes.mkdir()
    (recipes / "one.sh").write_text(text)
    again = text.replace("/ckpt/stable", "/ckpt/more").replace("--train-iters 6000", "--train-iters 9000")
    (recipes / "two.sh").write_text(again.replace("--bf16", "--load /ckpt/stable --bf16"))
    adopt([recipes], "mine")
    two = yaml.safe_load((project / "specs/mine/two.yaml").read_text())
    assert two["init"] == {
        "from": "one", "weights": "inherit", "optimizer": "inherit", "clock": "continue", "data": "continue",
    }  # fmt: skip
    assert two["schedule"] == "one"
    assert two["phases"][0]["budget"] == 3000 * 256 * 2048
    resolved = Project.load(project).resolve("mine", "mine")
    assert sum(piece.end - piece.start for piece in resolved.stages["two"].schedule.pieces) == 9000 * 256 * 2048


def without(text: str, *flags: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.strip().startswith(flags))


def test_runs_that_go_on_from_one_another_have_one_model_of_the_sizes_that_any_of_them_says(project: Path) -> None:
    recipes = project / "recipes"
    shutil.copytree(SOUND / "megatron_finetune", recipes)
    before, after = recipes / "pretrain.sh", recipes / "anneal.sh"
    after.write_text(without(after.read_text(), "--ffn-hidden-size", "--num-query-groups", "--kv-channels"))
    before.write_text(without(before.read_text(), "--num-layers"))
    adopt([recipes], "mine")
    written = yaml.safe_load((project / "specs/mine/pipeline.yaml").read_text())
    assert [(one["layers"], one["ffn"], one["kv_heads"]) for one in written["models"].values()] == [(16, 5632, 8)]
    cited = {path: one.get("citation") for one in written["sources"] for path in one["covers"]}
    assert cited["models.model.layers"] == "anneal.sh:5 --num-layers"
    assert cited["models.model.ffn"] == "pretrain.sh:9 --ffn-hidden-size"


def test_sizes_that_differ_are_refused_at_the_recipes_line(project: Path) -> None:
    recipes = project / "recipes"
    shutil.copytree(SOUND / "megatron_finetune", recipes)
    anneal = recipes / "anneal.sh"
    anneal.write_text(anneal.read_text().replace("--num-layers 16", "--num-layers 12"))
    with pytest.raises(UserError, match=r"^anneal.sh:5: --num-layers: found layers 12; allowed: 16, as pretrain.sh:8"):
        adopt([recipes], "mine")
    anneal.write_text((SOUND / "megatron_finetune/anneal.sh").read_text())
    pretrain = recipes / "pretrain.sh"  # silent, every head has keys and values of its own
    pretrain.write_text(without(pretrain.read_text(), "--num-query-groups"))
    with pytest.raises(UserError, match=r"^anneal.sh:10: --num-query-groups: found kv_heads 8; allowed: 16, as pretr"):
        adopt([recipes], "mine")


def test_a_run_that_is_restored_past_its_end_is_read_as_one_from_step_0_and_marked(project: Path) -> None:
    recipes = project / "recipes"
    shutil.copytree(SOUND / "megatron_override", recipes)
    two = recipes / "two.sh"
    two.write_text(two.read_text().replace("--train-iters 8000", "--train-iters 2000"))
    adopt([recipes], "mine")
    made = yaml.safe_load((project / "specs/mine/two.yaml").read_text())
    assert made["phases"][0]["budget"] == 2000 * 256 * 2048
    marks = {path: one["mark"] for one in made["sources"] for path in one["covers"]}
    assert marks["phases.main.budget"] == "unknown"


def test_a_file_whose_name_is_a_key_or_a_number_is_a_stage_all_the_same(project: Path) -> None:
    recipes = project / "recipes"
    recipes.mkdir()
    text = (SOUND / "arguments_json/training_args.json").read_text()
    for name in ("01", "02", "data", "stage"):
        (recipes / f"{name}.json").write_text(text.replace('"output_dir": "', f'"output_dir": "/out/{name}'))
    adopt([recipes], "mine")
    assert sorted(Project.load(project).resolve("mine", "mine").stages) == ["data_run", "run_01", "run_02", "stage_run"]


def test_a_set_that_is_listed_twice_is_one_corpus_with_both_shares(project: Path) -> None:
    recipes = project / "recipes"
    recipes.mkdir()
    text = (SOUND / "factory/pretrain.yaml").read_text()
    (recipes / "pretrain.yaml").write_text(text.replace("dataset: web", "dataset: web,code,web"))
    adopt([recipes], "mine")
    made = yaml.safe_load((project / "specs/data/mixtures.yaml").read_text())["mixtures"]["mine_pretrain"]
    assert {one["corpus"]: one["share"] for one in made["sources"]} == {"mine_web": "66.6667%", "mine_code": "33.3333%"}


def test_what_a_growing_batch_makes_of_length_and_schedule_is_marked(project: Path) -> None:
    adopt([SOUND / "megatron_samples"], "mine")
    marks = {}
    for file in ("run", "pipeline"):
        made = yaml.safe_load((project / f"specs/mine/{file}.yaml").read_text())
        marks |= {path: one["mark"] for one in made["sources"] for path in one["covers"]}
    grown = ("phases.main.batch", "phases.main.budget", "schedules.run")
    assert [marks[one] for one in (*grown, "phases.main.context")] == ["unknown"] * 3 + ["published"]


def test_runs_that_learn_preferences_or_train_adapters_are_left_out_and_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes = project / "recipes"
    shutil.copytree(SOUND / "axolotl", recipes)
    (recipes / "more.yml").write_text(
        (recipes / "preference.yml").read_text().replace("/models/preferred", "/models/more")
        .replace("/models/tuned", "/models/preferred").replace("rl: dpo\n", "")
    )  # fmt: skip
    adopt([recipes], "mine")
    assert capsys.readouterr().out.splitlines()[1:3] == [
        "left out: preference.yml:4: preference.yml learns by dpo, which is no objective here.",
        "left out: more.yml:2: more.yml goes on from preference.yml, which is left out.",
    ]
    assert sorted(Project.load(project).resolve("mine", "mine").stages) == ["sft"]
    with pytest.raises(UserError, match=r"no run can be a stage.*\n.*dpo.yaml:2: dpo.yaml learns by dpo"):
        adopt([SOUND / "factory_adapter"], "other")
    text = (SOUND / "arguments_json/training_args.json").read_text()
    for setting, said in (('"beta": 0.1', "learns by preferences"), ('"use_peft": true', r"alone \(use_peft True\)")):
        (recipes / "a.json").write_text(text.replace("{", f"{{\n  {setting},", 1))
        with pytest.raises(UserError, match=f"a.json:2: a.json .*{said}"):
            adopt([recipes / "a.json"], "other")
    tuned = recipes / "more.yml"
    tuned.write_text((recipes / "sft.yml").read_text() + "adapter: qlora\n")
    with pytest.raises(UserError, match=r"more.yml:27: more.yml trains a part of the weights alone \(adapter qlora\)"):
        adopt([tuned], "other")


def test_long_names_and_equal_names_in_other_folders_stay_apart(project: Path) -> None:
    recipes = project / "recipes"
    recipes.mkdir()
    text = (SOUND / "arguments_json/training_args.json").read_text()
    for name in ("first", "second"):
        written = text.replace("{", f'{{\n  "model_name_or_path": "/models/{name}/final",', 1)
        (recipes / f"{name}.json").write_text(written.replace('"output_dir": "', f'"output_dir": "/out/{name}'))
    name = "a" * LONGEST
    adopt([recipes], name)
    mixtures = yaml.safe_load((project / "specs/data/mixtures.yaml").read_text())["mixtures"]
    assert len([one for one in mixtures if one.startswith("aaa")]) == 2
    sources = [yaml.safe_load(path.read_text())["source"] for path in sorted((project / "specs/releases").iterdir())]
    assert sources == ["/models/first/final", "/models/second/final"]
    first = recipes / "first.json"
    first.write_text(first.read_text().replace("/models/first", "/models/third"))
    adopt([first], "other")
    weights = yaml.safe_load((project / "specs/other/first.yaml").read_text())["init"]["weights"]
    release = yaml.safe_load((project / f"specs/releases/{weights['release']}.yaml").read_text())
    assert release["source"] == "/models/third/final"


def test_what_a_stranger_wrote_is_only_text(project: Path) -> None:
    recipes = project / "recipes"
    recipes.mkdir()
    text = (SOUND / "arguments_json/training_args.json").read_text()
    path = r"out\"]\n\u2028sources: [x]: {y}"
    (recipes / "a.json").write_text(text.replace("{", f'{{\n  "model_name_or_path": "{path}",', 1))
    adopt([recipes], "mine")
    (release,) = (project / "specs/releases").iterdir()
    assert "sources: [x]: {y}" in yaml.safe_load(release.read_text())["source"]
    assert re.fullmatch(r"[a-z0-9_]+\.yaml", release.name)


def test_nothing_is_left_behind_where_it_fails(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written(project)
    with pytest.raises(UsageError, match="specs/tiny is there already"):
        adopt([SOUND / "factory"], "tiny")
    with pytest.raises(UsageError, match="--as: found 'No Name'"):
        adopt([SOUND / "factory"], "No Name")

    def fails(*_: object) -> None:
        raise UserError("as if it did not load")

    monkeypatch.setattr(Project, "resolve", fails)
    with pytest.raises(UserError, match="as if"):
        adopt([SOUND / "factory"], "mine")
    assert written(project) == before
