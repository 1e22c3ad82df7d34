"""Ouro and Kimi-VL: one folder under the published names, with modelling code that needs nothing of this project."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stages.contract.rope import attention_factor, inv_freq, score_factor
from stages.errors import UserError
from stages.export import names, tokenizer
from stages.export.result import Result
from stages.models import build, hf, hf_config, kimi_vl
from stages.models.hf_names import hf_names
from stages.models.vision_packing import pack
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.project import Project
from stages.spec.resolved_models import MoonViTModel, ProjectorModel
from stages.store import stage_record
from tests.families import test_yarn
from tests.parity.test_hf import CASES
from tests.unit.export import others, ours
from tests.unit.export.conftest import Export

INTERPRETERS = {"transformers 4": lambda: Path(sys.executable), "transformers 5": others.transformers_5}


@pytest.mark.slow
@pytest.mark.parametrize("which", INTERPRETERS)
def test_an_ouro_is_read_and_looped_as_it_was_trained(
    which: str, finished: Path, exported: Export, tmp_path: Path
) -> None:
    found = others.read(INTERPRETERS[which](), exported("plain/looped"), tmp_path, "--remote-code")
    assert found["version"].startswith(which[-1])
    assert found["class"] == "OuroForCausalLM"
    loops = hf_config.read(finished / "results/mini/plain/looped/model/llm").loops
    assert loops == 3
    others.agrees(finished, "plain/looped", found, loops)


@pytest.mark.slow
@pytest.mark.parametrize("which", INTERPRETERS)
def test_a_kimi_vl_reads_text_and_pictures(which: str, finished: Path, exported: Export, tmp_path: Path) -> None:
    inputs, want = pictured(finished)
    save_file(inputs, tmp_path / "inputs.safetensors")
    folder = exported("toy/joint")
    found = others.read(INTERPRETERS[which](), folder, tmp_path, "--remote-code", tmp_path / "inputs.safetensors")
    assert found["class"] == "KimiVLForConditionalGeneration"
    others.agrees(finished, "toy/joint", found)
    others.close(found["pictured"], want)
    [described] = found["described"]
    start = inputs["input_ids"].shape[1]
    assert len(described) > start
    assert described[start] == int(want[-1].argmax())


def pictured(root: Path) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A prompt with two pictures of different sizes, and our logits [T, V] for it."""
    folder = root / "results/mini/toy/joint"
    stage, tokens = stage_record.read(folder), ours.tokenizer(root)
    modules = build.build(stage).eval()
    for name, module in modules.items():
        hf.load(module, folder / "model" / name)
    cfg, projector = stage.modules["vit"], stage.modules["projector"]
    assert isinstance(cfg, MoonViTModel)
    assert isinstance(projector, ProjectorModel)
    random = torch.Generator().manual_seed(0)
    sides = [(4, 2), (2, 6)]  # patches: one grid smaller than the table of positions, in both directions
    pictures = [torch.rand(h * cfg.patch, w * cfg.patch, cfg.channels, generator=random) * 2 - 1 for h, w in sides]
    pixels, grids = pack([picture.numpy() for picture in pictures], cfg.patch)
    assert list(grids) == sides
    image = tokens.roles.image
    assert image is not None
    row = [1, *tokens.encode("Look:")]
    for height, width in sides:
        row += [image] * (height * width // projector.merge**2) + tokens.encode(" and")
    ids = torch.tensor([row])
    where = kimi_vl.places(ids.numpy(), image, torch.device("cpu"))
    batch = kimi_vl.Batch(ids, torch.arange(len(row))[None], None, pixels, grids, where)
    with torch.no_grad():
        embeddings = kimi_vl.embed(modules, batch)
        hidden = modules["llm"](batch.tokens, batch.positions, batch.documents, embeddings)
        want = modules["llm"].logits(hidden)[0]
    shape = (len(pixels), cfg.channels, cfg.patch, cfg.patch)
    inputs = {
        "input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels.view(shape).contiguous(),
        "image_grid_hws": torch.tensor(sides),
    }  # fmt: skip
    return inputs, want


@pytest.mark.slow
def test_pictures_that_do_not_fit_their_places_are_refused(finished: Path, exported: Export, tmp_path: Path) -> None:
    inputs, _ = pictured(finished)
    inputs["input_ids"][0, -1] = 3
    save_file(inputs, tmp_path / "inputs.safetensors")
    with pytest.raises(subprocess.CalledProcessError):
        others.read(
            Path(sys.executable), exported("toy/joint"), tmp_path, "--remote-code", tmp_path / "inputs.safetensors"
        )


def test_weights_are_the_trained_ones_under_the_published_names(finished: Path, exported: Export) -> None:
    found = {name: t for path in exported("toy/joint").glob("*.safetensors") for name, t in load_file(path).items()}
    prefixes = {"llm": "language_model", "vit": "vision_tower", "projector": "multi_modal_projector"}
    trained = {
        f"{prefix}.{name}": tensor
        for module, prefix in prefixes.items()
        for name, tensor in load_file(finished / f"results/mini/toy/joint/model/{module}/model.safetensors").items()
    }
    assert found.keys() == trained.keys()
    patches = "vision_tower.patch_embed.proj.weight"
    assert found[patches].shape == (32, 3, 4, 4)
    for name, tensor in found.items():
        assert torch.equal(tensor.reshape(trained[name].shape), trained[name]), name


def test_config_json_names_the_code_and_has_the_published_fields(exported: Export) -> None:
    folder = exported("toy/joint")
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["KimiVLForConditionalGeneration"]
    assert config["model_type"] == "kimi_vl"
    assert config["media_placeholder_token_id"] == 3
    assert config["text_config"]["model_type"] == "deepseek_v3"
    assert config["vision_config"]["model_type"] == "moonvit"
    assert config["vision_config"]["merge_kernel_size"] == [2, 2]
    for where in config["auto_map"].values():
        module, name = where.split(".")
        assert re.search(rf"^class {name}\b", (folder / f"{module}.py").read_text(), re.MULTILINE)
    assert "stages_blocks.py" in (folder / "SHA256SUMS").read_text()


def test_a_tokenizer_without_a_token_for_pictures_is_refused(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tokenizer.of

    def without(result: Result) -> tokenizer.TokenizerOut:
        made = known(result)
        return replace(made, roles=replace(made.roles, image=None))

    monkeypatch.setattr(tokenizer, "of", without)
    with pytest.raises(UserError, match=r"toy/joint: its tokenizer has no token for a cell of a picture"):
        exported("toy/joint")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", sorted(names.CODE.glob("[!_]*.py")), ids=lambda path: path.name)
def test_the_code_imports_nothing_of_this_project(path: Path) -> None:
    imported = re.findall(r"^\s*(?:from|import)\s+([\w.]+)", path.read_text(), re.MULTILINE)
    beside = {f".{one.stem}" for one in names.CODE.glob("*.py")}
    allowed = {"__future__", "collections", "math", "torch", "transformers", "typing"}
    allowed |= {"numpy", "PIL"} if path.name.startswith("image_processing") else set()
    assert all(one in beside or one.split(".")[0] in allowed for one in imported)


PAPER = Path(__file__).parents[3]


def shapes(pipeline: str, stage_name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published size's export, laid out without memory."""
    stage = Project.load(PAPER).resolve(pipeline, "paper").stages[stage_name]
    layout = names.of_modules(stage.modules, f"{pipeline}/{stage_name}")
    found = {}
    for module, built in build.build(stage, "meta").items():
        for name, tensor in built.state_dict().items():
            for given in hf_names(name, tensor):
                stacked = tuple(tensor.shape) if given == name else tuple(tensor.shape[1:])
                new, shape = layout.tensor(module, given, stacked)
                found[new] = shape
    return found


def kimi_vl_names() -> Iterator[str]:
    """The names that vLLM's kimi_vl.py, moonvit.py and deepseek_v2.py load, of Kimi-VL-A3B: 27 layers and blocks."""
    yield from ("vision_tower.patch_embed.proj.weight", "vision_tower.patch_embed.proj.bias")
    yield "vision_tower.patch_embed.pos_emb.weight"
    for block in range(27):
        for part in ("norm0", "norm1", "wqkv", "wo", "mlp.fc0", "mlp.fc1"):
            yield from (f"vision_tower.encoder.blocks.{block}.{part}.{kind}" for kind in ("weight", "bias"))
    projector = [f"multi_modal_projector.{one}" for one in ("pre_norm", "linear_1", "linear_2")]
    for part in ("vision_tower.encoder.final_layernorm", *projector):
        yield from (f"{part}.{kind}" for kind in ("weight", "bias"))
    language = "language_model.model"
    yield from (f"{language}.embed_tokens.weight", f"{language}.norm.weight", "language_model.lm_head.weight")
    for number in range(27):
        layer = f"{language}.layers.{number}"
        yield from (f"{layer}.{norm}.weight" for norm in ("input_layernorm", "post_attention_layernorm"))
        for part in ("q_proj", "kv_a_proj_with_mqa", "kv_a_layernorm", "kv_b_proj", "o_proj"):
            yield f"{layer}.self_attn.{part}.weight"
        routed = [f"experts.{expert}." for expert in range(64)] + ["shared_experts."] if number else [""]
        for one in routed:
            yield from (f"{layer}.mlp.{one}{part}_proj.weight" for part in ("gate", "up", "down"))
        if number:
            yield from (f"{layer}.mlp.gate.{part}" for part in ("weight", "e_score_correction_bias"))


def test_kimi_vl_at_its_published_size_has_the_published_names_and_shapes() -> None:
    found = shapes("kimi_vl", "joint_longctx")
    assert sorted(found) == sorted(kimi_vl_names())
    # config.json of moonshotai/Kimi-VL-A3B: patches of 14, a table of 64 x 64, width 1152 and 4304; 2048, 64 experts.
    assert found["vision_tower.patch_embed.proj.weight"] == (1152, 3, 14, 14)
    assert found["vision_tower.patch_embed.pos_emb.weight"] == (64, 64, 1152)
    assert found["vision_tower.encoder.blocks.26.wqkv.weight"] == (3456, 1152)
    assert found["vision_tower.encoder.blocks.0.mlp.fc0.weight"] == (4304, 1152)
    assert found["multi_modal_projector.linear_1.weight"] == (4608, 4608)
    assert found["multi_modal_projector.linear_2.weight"] == (2048, 4608)
    assert found["language_model.model.embed_tokens.weight"] == (163_840, 2048)
    assert found["language_model.model.layers.0.mlp.gate_proj.weight"] == (11_264, 2048)
    assert found["language_model.model.layers.1.self_attn.kv_a_proj_with_mqa.weight"] == (576, 2048)
    assert found["language_model.model.layers.26.mlp.experts.63.down_proj.weight"] == (2048, 1408)
    assert found["language_model.model.layers.1.mlp.gate.e_score_correction_bias"] == (64,)


@pytest.mark.parametrize(("stage", "layers"), [("thinking_1_4b", 24), ("thinking_2_6b", 48)])
def test_ouro_at_its_published_size_has_the_published_names_and_shapes(stage: str, layers: int) -> None:
    found = shapes("ouro", stage)
    wanted = {
        "model.embed_tokens.weight": (49_152, 2048),
        "model.norm.weight": (2048,),
        "lm_head.weight": (49_152, 2048),
    }
    wanted |= {"model.early_exit_gate.weight": (1, 2048), "model.early_exit_gate.bias": (1,)}
    for number in range(layers):
        layer = f"model.layers.{number}"
        norms = ("input_layernorm", "input_layernorm_2", "post_attention_layernorm", "post_attention_layernorm_2")
        wanted |= {f"{layer}.{norm}.weight": (2048,) for norm in norms}
        wanted |= {f"{layer}.self_attn.{part}_proj.weight": (2048, 2048) for part in "qkvo"}
        wanted |= {f"{layer}.mlp.{part}_proj.weight": (5632, 2048) for part in ("gate", "up")}
        wanted[f"{layer}.mlp.down_proj.weight"] = (2048, 5632)
    assert found == wanted


def test_types_of_weights_in_the_header(exported: Export) -> None:
    folder = exported("toy/joint", "bf16")
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert {name for name, kind in types.items() if kind != "BF16"} == {
        name for name in types if name.endswith("e_score_correction_bias")
    }


@pytest.mark.parametrize("kind", [*CASES, *(f"yarn: {name}" for name in test_yarn.YARNS)])
def test_rotary_positions_of_every_kind_are_ours(kind: str) -> None:
    from stages.export.hf_code.stages_blocks import factors, frequencies

    name = kind.removeprefix("yarn: ")
    cfg, rope, _ = CASES.get(kind) or (CASES["moonlight"][0], test_yarn.rope(test_yarn.YARNS[name]), None)
    dim: int = cfg.qk_rope_dim if isinstance(cfg, MoonlightModel) else vars(cfg)["head_dim"]
    four = hf_config.render(hf_config.ModelConfig(cfg, rope, 256, 4))
    five = {
        "rope_parameters": {"rope_theta": four["rope_theta"], **(four["rope_scaling"] or {})},
        "max_position_embeddings": 256,
    }
    for given in (four, five):
        found = frequencies(SimpleNamespace(**given), dim)
        assert found == pytest.approx(inv_freq(rope, dim), rel=1e-12)
        wanted = attention_factor(rope), score_factor(rope)
        assert factors(SimpleNamespace(**given)) == pytest.approx(wanted, rel=1e-12)


def test_rotary_positions_of_another_kind_are_refused() -> None:
    from stages.export.hf_code.stages_blocks import frequencies

    given = SimpleNamespace(rope_theta=1e4, rope_scaling={"rope_type": "dynamic", "factor": 4.0})
    with pytest.raises(ValueError, match="rope_scaling: found 'dynamic'"):
        frequencies(given, 8)
