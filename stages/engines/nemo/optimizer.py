"""Core's optimizers as a stage declares them: which parameter is moved how, decayed or not, and what is clipped.

AdamW is Core's: Apex's or TransformerEngine's FusedAdam where one of them is installed (never executed on a GPU), else
torch's. Muon is ours (`muon`), entered in Core's registry of optimizers, so that Core makes groups, main copies under
bf16 and the chain with AdamW for the rest. Learning rate and weight decay are set at each step: Core's scheduler, its
rule that norms and biases are not decayed, and its clip over all parameters are not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isclose
from typing import Any

from megatron.core import optimizer as core
from megatron.core.optimizer import emerging_optimizers
from megatron.core.optimizer.clip_grads import clip_grad_by_total_norm_fp32
from megatron.core.optimizer.optimizer import ChainedOptimizer
from torch import nn

from stages.contract import numbers
from stages.engines.nemo import local, muon, names
from stages.engines.nemo.config import config
from stages.engines.nemo.container import value
from stages.engines.nemo.local import Owned
from stages.engines.nemo.muon import MatrixMuon
from stages.errors import UserError
from stages.spec import resolved_training
from stages.spec.resolved import Stage
from stages.train.param_groups import decays, matrix_names

NAME = "stages_muon"  # in Core's registry
CORES = 1e-6  # what Core adds to the norm that it divides by
CLIPPED = 1e-4  # relative: a norm of many numbers in fp32
MARK = "moved_by_muon"  # attribute of a parameter


class Mover:
    """A stage's optimizer; `core` is Core's own object, for its checkpoints. All ranks make the same calls."""

    def __init__(self, stage: Stage, chunks: Sequence[nn.Module]) -> None:
        """`chunks` are this rank's, wrapped for data parallelism.

        Raises UserError for Muon with the distributed optimizer, which has no whole matrices.
        """
        if stage.optimizer is None:
            raise ValueError(f"{stage.ref} has phases but no optimizer")
        stated = config(stage, stage.phases[0])["optimizer"] or {}
        self.cfg, rules = stage.optimizer, names.rules(stage)
        self._decay = numbers.value(self.cfg.weight_decay, None)
        if isinstance(self.cfg, resolved_training.Muon) and stated["use_distributed_optimizer"]:
            raise UserError(
                f"{stage.ref}: Muon moves whole matrices, and the distributed optimizer gives each "
                "rank a range of them. Write `distributed_optimizer: false` in the stage's `parallel`."
            )
        self._mark(stage, local.owned(chunks, rules))
        self.core = _core(self.cfg, chunks, stated)
        self.owned = local.owned(chunks, rules, self.core)
        self._chain: list[Any] = list(getattr(self.core, "chained_optimizers", [self.core]))
        for one in self._chain:
            if isinstance(one.optimizer, MatrixMuon):
                one.optimizer.members = [owned for owned in self.owned if owned.inner is one.optimizer]
        self._made = 0  # updates of a torch optimizer since a step began
        for one in self._chain:
            if one.optimizer is not None:
                one.optimizer.register_step_pre_hook(self._count)
        self._adamw = [one for one in self._chain if not isinstance(one.optimizer, MatrixMuon)]
        for one in self.owned:
            if one.group is not None and bool(one.group["wd_mult"]) != decays(self.cfg, one.tensor):
                raise AssertionError(f"{one.placed.key} is in a group with wd_mult {one.group['wd_mult']}")
            if one.tensor.requires_grad and not one.trained:
                raise AssertionError(f"{one.placed.key} is in no group of Core's optimizer, and would not move")

    def _mark(self, stage: Stage, parameters: Sequence[Owned]) -> None:
        """Say on each parameter who moves it, for Core's groups."""
        from stages.models import build

        matrices = {
            f"{name}.{matrix}" for name, part in build.build(stage, "meta").items() for matrix in matrix_names(part)
        }
        for one in parameters:
            of_muon = {target in matrices for target in one.placed.targets}
            if len(of_muon) > 1:
                raise AssertionError(f"{one.placed.key} is made of matrices and of other tensors")
            setattr(one.tensor, MARK, self.cfg.kind == "muon" and of_muon == {True})

    def zero(self) -> None:
        """Forget the last step's gradients."""
        self.core.zero_grad()

    def norm(self) -> float:
        """Take over the step's gradients from Megatron's buffers; the norm of all of them. All ranks call it."""
        if self.core.prepare_grads():
            raise AssertionError("a loss scale, which fp32 and bf16 do not have")
        return float(self.core.get_grad_norm())

    def clip(self) -> float:
        """The same, then clip them; the norm before.

        Under Muon only AdamW's group is measured and scaled, as in `stages.train.optimizer`. All ranks call it.
        """
        total = self.norm()
        if self.cfg.clip is None or not self._adamw:
            return total
        clipped = ChainedOptimizer(self._adamw)
        norm = total if len(self._adamw) == len(self._chain) else float(clipped.get_grad_norm())
        for one in self._adamw:
            if not one.is_stub_optimizer:
                clip_grad_by_total_norm_fp32(one.get_parameters(), self.cfg.clip, norm)
        if norm > self.cfg.clip:
            wanted, now = self.cfg.clip * norm / (norm + CORES), float(clipped.get_grad_norm())
            if not isclose(now, wanted, rel_tol=CLIPPED):
                raise AssertionError(f"gradients of norm {norm:g} were clipped to {now:g}; the spec says {wanted:g}")
        return total

    def rates(self, lr: float) -> dict[str, float]:
        """Set every group's learning rate and decay for a step at `lr`; the rates as the groups then have them."""
        found = {}
        for number, group in enumerate(self.core.param_groups):
            group["lr"] = lr
            group["weight_decay"] = self._decay * group["wd_mult"]
            found[f"group {number}"] = group["lr"]
        return found

    def numbers(self, clock: int) -> dict[str, float]:
        """None: this engine reads no schedule but the learning rate's."""
        return {}

    def step(self, lr: float) -> None:
        """Decay and move every parameter by the gradients that `clip` took over."""
        self.rates(lr)
        self._made = 0
        if not self.core.step_with_ready_grads():
            raise AssertionError("Core made no update")
        for group in (group for one in self._chain for group in one.optimizer.param_groups):
            if group["lr"] != lr:
                raise AssertionError(f"an update at the rate {group['lr']!r}, the schedule's is {lr!r}")
            if group["weight_decay"] != (decay := self._decay * group["wd_mult"]):
                raise AssertionError(f"an update with weight decay {group['weight_decay']!r}, the spec's is {decay!r}")

    def _count(self, *_: Any) -> None:
        """Before a torch optimizer moves anything: a second update would wait for ranks that make none."""
        self._made += 1
        if self._made > sum(one.optimizer is not None for one in self._chain):
            raise AssertionError("a second update in one step")


def _core(cfg: resolved_training.Optimizer, chunks: Sequence[nn.Module], stated: Mapping[str, Any]) -> Any:
    how = core.OptimizerConfig(**{name: value(name, plain) for name, plain in stated.items()})
    undecayed = core.ParamPredicate(name="undecayed", fn=lambda parameter: not decays(cfg, parameter))
    overrides: dict[Any, Any] = {core.ParamKey(predicate=undecayed): {"wd_mult": 0.0}}
    if isinstance(cfg, resolved_training.Muon):
        how = replace(how, optimizer=NAME)
        rest = core.ParamPredicate(name="no_matrix", fn=lambda parameter: not getattr(parameter, MARK))
        emerging_optimizers._EMERGING_OPTIMIZERS[NAME] = emerging_optimizers.EmergingOptimizerEntry(
            optimizer_cls=MatrixMuon,
            init_state_fn=muon.start,
            config_to_kwargs=lambda config, chunks, groups: {"cfg": cfg},
            default_param_overrides={core.ParamKey(predicate=rest): {"optimizer": "adam"}},
        )
    return core.get_megatron_optimizer(how, list(chunks), config_overrides=overrides, use_gloo_process_groups=False)
