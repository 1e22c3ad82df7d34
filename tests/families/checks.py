"""What holds for every family that transformers has too: a family's test gives its sizes, and what must be refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from stages.contract import cost
from stages.contract.parameters import parameters
from stages.engines import run
from stages.errors import UserError
from stages.models import hf, release_config
from stages.models.build import initialise, make
from stages.models.documents import Documents
from stages.models.hf_names import to_hf
from stages.spec.decoder import Mixture
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import Rope
from stages.spec.resolved_phases import Router
from stages.store import manifest
from stages.store.manifest import Parent
from tests.families import fields
from tests.unit.train import tiny

LENGTH = 40  # positions of a row: more than any window of the tests' models
CONTEXT = 64  # that a folder declares
ALLOWED = 1e-5  # between logits of this size (about 1) in fp32


class Checks:
    """A family's test is a subclass called Test..., with the attributes below."""

    MODEL: ClassVar[LanguageModel]
    ROPES: ClassVar[dict[str, Rope]]
    # Fields of config.json that make another model, with values that are refused.
    REFUSED: ClassVar[dict[str, Any]]
    ROUTER: ClassVar[Router | None] = None

    @classmethod
    def pytest_generate_tests(cls, metafunc: pytest.Metafunc) -> None:
        if "named_rope" in metafunc.fixturenames:
            metafunc.parametrize("named_rope", list(cls.ROPES))
        if "refused" in metafunc.fixturenames:
            metafunc.parametrize("refused", list(cls.REFUSED))

    def built(self, rope: Rope, seed: int = 1) -> Any:
        """Random weights of a size at which logits are about 1; gains and biases are moved too."""
        module: Any = make(self.MODEL, rope, "cpu").eval()
        initialise(module, "llm", self.MODEL.model_copy(update={"init_std": 0.1}), seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        return module

    def theirs(self, module: Any, rope: Rope, folder: Path) -> Any:
        """transformers' model of the same weights, from the folder that is written here."""
        hf.save(module, self.MODEL, rope, CONTEXT, folder)
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True, attn_implementation="eager"
        )
        assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), loading
        assert type(model).__name__ == self.MODEL.PUBLISHED.architecture
        return model.eval()

    def test_logits_and_gradients_are_those_of_transformers(self, named_rope: str, tmp_path: Path) -> None:
        module = self.built(self.ROPES[named_rope])
        theirs = self.theirs(module, self.ROPES[named_rope], tmp_path)
        tokens = words(self.MODEL, 2, LENGTH)
        positions = torch.arange(LENGTH).expand(2, -1)
        logits = module.logits(module(tokens, positions, None, None))
        wanted = theirs(tokens, use_cache=False).logits
        assert (logits - wanted).abs().max() <= ALLOWED * max(1.0, wanted.abs().max().item())
        assert wanted.abs().max() > 0.1, "logits that say something"
        weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
        (logits * weights).sum().backward()
        (wanted * weights).sum().backward()
        found = to_hf({name: parameter.grad for name, parameter in module.named_parameters()})
        for name, gradient in _gradients(theirs, found).items():
            scale = gradient.abs().max().item()
            assert scale > 0, f"{name} takes a gradient"
            assert (found[name] - gradient).abs().max() <= 1e-4 * scale, name

    def test_a_document_in_a_row_has_the_logits_that_it_has_alone(self) -> None:
        rope = next(iter(self.ROPES.values()))
        module = self.built(rope)
        tokens, lengths = words(self.MODEL, 1, LENGTH), (3, 1, LENGTH - 4)
        segments = np.repeat(np.arange(3, dtype=np.int32), lengths)[None]
        positions = torch.cat([torch.arange(length) for length in lengths])[None]
        with torch.no_grad():
            packed = module.logits(module(tokens, positions, Documents(segments, torch.device("cpu")), None))[0]
            for part, own, at in zip(
                packed.split(lengths), tokens[0].split(lengths), positions[0].split(lengths), strict=True
            ):
                alone = module.logits(module(own[None], at[None], None, None))[0]
                assert (part - alone).abs().max() <= ALLOWED * max(1.0, alone.abs().max().item())

    def test_what_follows_changes_nothing_before_it(self) -> None:
        module = self.built(next(iter(self.ROPES.values())))
        tokens = words(self.MODEL, 1, LENGTH)
        with torch.no_grad():
            whole = module.logits(module(tokens, torch.arange(LENGTH)[None], None, None))
            for length in (1, 2, LENGTH // 2):
                part = module.logits(module(tokens[:, :length], torch.arange(length)[None], None, None))
                assert (whole[:, :length] - part).abs().max() <= ALLOWED * max(1.0, whole.abs().max().item())

    def test_parameters_are_counted_as_they_are(self, tmp_path: Path) -> None:
        rope = next(iter(self.ROPES.values()))
        module = self.built(rope)
        counted = parameters(self.MODEL)
        assert counted.total == sum(parameter.numel() for parameter in module.parameters())
        assert counted.total == self.theirs(module, rope, tmp_path).num_parameters()

    def test_operations_are_those_of_the_matrices(self) -> None:
        """Every matrix is read once a position; of experts those that a token takes."""
        module = make(self.MODEL, next(iter(self.ROPES.values())), "meta")
        parts, matrices = self.MODEL.parts, 0
        for name, parameter in module.named_parameters():
            if parameter.ndim == 3:
                one = parts.mixture
                assert isinstance(one, Mixture)
                matrices += parameter.numel() // one.experts * one.active
            elif parameter.ndim == 2 and "embed_tokens" not in name:
                matrices += parameter.numel()
        matrices += self.MODEL.vocab * self.MODEL.hidden if self.MODEL.tied else 0
        assert cost.language_model(self.MODEL, LENGTH).weights == matrices

    def test_a_folder_of_transformers_comes_in_and_goes_out_with_the_same_tensors(self, tmp_path: Path) -> None:
        rope = next(iter(self.ROPES.values()))
        theirs = self.released(rope, tmp_path / "given")
        stage = importing(self.MODEL, rope)
        release_config.check(stage, "llm", tmp_path / "given", self.MODEL.PUBLISHED.architecture)
        module = make(self.MODEL, rope, "cpu")
        hf.load(module, tmp_path / "given")
        hf.save(module, self.MODEL, rope, CONTEXT, tmp_path / "out")
        given, out = (load_file(tmp_path / name / "model.safetensors") for name in ("given", "out"))
        assert given.keys() == out.keys()
        assert all(torch.equal(given[name], out[name]) and given[name].dtype == out[name].dtype for name in given)
        assert theirs.num_parameters() == parameters(self.MODEL).total

    def released(self, rope: Rope, folder: Path) -> Any:
        """A folder as transformers writes it, from a configuration that is read from ours."""
        hf.save(make(self.MODEL, rope, "cpu"), self.MODEL, rope, CONTEXT, folder / "ours")
        config = AutoConfig.from_pretrained(folder / "ours")
        torch.manual_seed(0)
        theirs = AutoModelForCausalLM.from_config(config)
        theirs.save_pretrained(folder)
        written = json.loads((folder / "config.json").read_text())
        written.pop("stages")
        (folder / "config.json").write_text(json.dumps(written))
        return theirs

    def test_no_field_that_changes_what_transformers_computes_is_accepted(self, tmp_path: Path) -> None:
        rope = next(iter(self.ROPES.values()))
        theirs, folder, stage = self.released(rope, tmp_path / "given"), tmp_path / "given", importing(self.MODEL, rope)
        weights, tokens = theirs.state_dict(), words(self.MODEL, 1, LENGTH)
        given = json.loads((folder / "config.json").read_text())
        wanted = fields.logits(given, weights, tokens, tmp_path / "given_again")
        assert wanted is not None
        tried, wrong = 0, []
        for what, config in list(fields.mutants(folder)):
            (folder / "config.json").write_text(json.dumps(config))
            tried += 1
            try:
                release_config.check(stage, "llm", folder, self.MODEL.PUBLISHED.architecture)
            except UserError:
                continue
            found = fields.logits(config, weights, tokens, tmp_path / "mutant")
            if found is not None and (found - wanted).abs().max() > 1e-6:
                wrong.append(what)
        assert not wrong
        assert tried > 80

    def test_another_model_is_refused(self, refused: str, tmp_path: Path) -> None:
        rope = next(iter(self.ROPES.values()))
        self.released(rope, tmp_path)
        path = tmp_path / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {refused: self.REFUSED[refused]}))
        with pytest.raises(UserError, match=refused):
            release_config.check(importing(self.MODEL, rope), "llm", tmp_path, None)

    def test_a_field_that_nobody_knows_is_refused(self, tmp_path: Path) -> None:
        rope = next(iter(self.ROPES.values()))
        self.released(rope, tmp_path)
        path = tmp_path / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"unheard_of": 3}))
        with pytest.raises(UserError, match="unheard_of"):
            release_config.check(importing(self.MODEL, rope), "llm", tmp_path, None)

    @pytest.mark.usefixtures("made_up_data")
    def test_a_stage_trains_it_and_hands_it_over(self, tmp_path: Path) -> None:
        """Two stages of a pipeline: the second goes on with weights and moments, and the loss falls."""
        model = self.MODEL.model_copy(update={"vocab": tiny.VOCAB, "init_std": 0.05})
        phase = tiny.phase("next_token", router=self.ROUTER)
        first = tiny.stage({"llm": model}, (phase,), ("llm",))
        run(first, tiny.inputs(tmp_path))
        ref, inputs = "tiny/box", tiny.inputs(tmp_path, "b" * 32)
        found, digest = manifest.read_with_digest(inputs.layout.manifest(ref))
        init = Init(weights="inherit", parent=ref, release=None, optimizer="inherit", layer_map=None, stand_in=False)
        second = first.model_copy(update={"name": "next", "parents": (ref,), "init": {"llm": init}})
        parents = {ref: Parent(key=found.key, manifest=digest)}
        run(second, type(inputs)(inputs.layout, inputs.key, inputs.phase_keys, parents, inputs.data_root, {}))
        losses = [float(line.split(",")[column(tmp_path, "loss")]) for line in lines(tmp_path, "box")]
        losses += [float(line.split(",")[column(tmp_path, "loss")]) for line in lines(tmp_path, "next")]
        assert losses[-1] < 0.9 * losses[0]
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "results/mini/tiny/next/model/llm")
        assert type(theirs).__name__ == model.PUBLISHED.architecture


def words(model: LanguageModel, rows: int, length: int) -> Tensor:
    """Random tokens int64 [rows, length]."""
    return torch.randint(0, model.vocab, (rows, length), generator=torch.Generator().manual_seed(2))


def importing(model: LanguageModel, rope: Rope) -> Stage:
    """A stage that takes the model in from a release."""
    init = Init(weights="release", parent=None, release="given", optimizer="reset", layer_map=None, stand_in=False)
    changes = {"kind": "import", "phases": (), "init": {"llm": init}, "rope": rope, "max_context": CONTEXT}
    return tiny.stage({"llm": model}, (tiny.phase("next_token"),), ()).model_copy(update=changes)


def lines(root: Path, name: str) -> list[str]:
    return (root / f"results/mini/tiny/{name}/metrics.csv").read_text().splitlines()[1:]


def column(root: Path, name: str) -> int:
    return (root / "results/mini/tiny/box/metrics.csv").read_text().splitlines()[0].split(",").index(name)


def _gradients(theirs: Any, ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their gradients by the names of a folder; transformers 5 stacks a layer's experts, gate and up in one."""
    return dict(_unstacked(theirs, ours))


def _unstacked(theirs: Any, ours: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in theirs.named_parameters():
        if name in ours:
            yield name, parameter.grad
        else:
            head, _, matrix = name.rpartition(".")
            parts = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}[matrix]
            for expert, stacked in enumerate(parameter.grad):
                for part, gradient in zip(parts, stacked.chunk(len(parts)), strict=True):
                    yield f"{head}.{expert}.{part}.weight", gradient
