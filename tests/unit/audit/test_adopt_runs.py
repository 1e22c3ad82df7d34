"""`stages adopt`: which runs are stages, of which family, and what those that go on from one another share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from stages.audit.family import family as family_of
from stages.audit.recipe import Scalar, Stage, Value
from stages.commands.adopt import adopt
from stages.errors import UserError, Where
from stages.spec.project import Project
from tests.edits import edit, replaced
from tests.unit.audit.planted import SOUND


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


def test_a_run_that_goes_on_along_its_parents_schedule_has_its_clock(project: Path) -> None:
    text = (SOUND / "megatron_override/one.sh").read_text()
    recipes = project / "recipes"
    recipes.mkdir()
    (recipes / "one.sh").write_text(text)
    again = replaced(replaced(text, "/ckpt/stable", "/ckpt/more"), "--train-iters 6000", "--train-iters 9000")
    (recipes / "two.sh").write_text(replaced(again, "--bf16", "--load /ckpt/stable --bf16"))
    adopt([recipes], "mine")
    two = yaml.safe_load((project / "specs/mine/two.yaml").read_text())
    assert two["init"] == {
        "from": "one", "weights": "inherit", "optimizer": "inherit", "clock": "continue", "data": "continue",
    }  # fmt: skip
    assert two["schedule"] == "one"
    assert two["phases"][0]["budget"] == 3000 * 256 * 2048
    resolved = Project.load(project).resolve("mine", "mine")
    schedule = resolved.stages["two"].schedule
    assert schedule is not None
    assert sum(piece.end - piece.start for piece in schedule.pieces) == 9000 * 256 * 2048


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
    edit(anneal, "--num-layers 16", "--num-layers 12")
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
    edit(two, "--train-iters 8000", "--train-iters 2000")
    adopt([recipes], "mine")
    made = yaml.safe_load((project / "specs/mine/two.yaml").read_text())
    assert made["phases"][0]["budget"] == 2000 * 256 * 2048
    marks = {path: one["mark"] for one in made["sources"] for path in one["covers"]}
    assert marks["phases.main.budget"] == "unknown"


def test_runs_that_learn_preferences_or_train_adapters_are_left_out_and_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes = project / "recipes"
    shutil.copytree(SOUND / "axolotl", recipes)
    more = recipes / "more.yml"
    shutil.copy(recipes / "preference.yml", more)
    edit(more, "/models/preferred", "/models/more")
    edit(more, "/models/tuned", "/models/preferred")
    edit(more, "rl: dpo\n", "")
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
        (recipes / "a.json").write_text(replaced(text, "{\n", f"{{\n  {setting},\n"))
        with pytest.raises(UserError, match=f"a.json:2: a.json .*{said}"):
            adopt([recipes / "a.json"], "other")
    tuned = recipes / "more.yml"
    tuned.write_text((recipes / "sft.yml").read_text() + "adapter: qlora\n")
    with pytest.raises(UserError, match=r"more.yml:27: more.yml trains a part of the weights alone \(adapter qlora\)"):
        adopt([tuned], "other")
