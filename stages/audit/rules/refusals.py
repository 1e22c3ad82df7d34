"""Settings that a framework's own checks refuse together: the launch stops before the first step.

Read in Megatron-LM d98e8a64 (training/arguments.py, core/transformer/transformer_config.py), LLaMA-Factory ff6d4d12
(hparams), axolotl 067b021c (utils/schemas/validation.py), nanotron 2411b022 (config/config.py) and torchtitan b5bcd76c
(components/checkpointer), torchtune bd2a0fc7c (recipes/full_finetune_distributed.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stages.audit.finding import stage_rule
from stages.audit.frameworks import TRAINERS
from stages.audit.recipe import Fault, Stage

Case = Callable[[Stage], bool]
_TUNED = frozenset({"pt", "sft", None})
_FACTORY, _AXOLOTL, _MEGATRON, _NANOTRON = ("llama-factory",), ("axolotl",), ("megatron-lm",), ("nanotron",)
_TUNE = ("torchtune",)


@dataclass(frozen=True)
class Refusal:
    """A case that is refused; `at`: the figures that are shown, the first one at its line."""

    frameworks: tuple[str, ...]
    case: Case
    at: tuple[str, ...]
    expected: str


def _held_out(stage: Stage) -> float:
    return stage.number("held_out") or 0.0


def _concatenated(stage: Stage) -> bool:
    return stage.stated("data_weights") and (stage.text("mix_strategy") or "concat") == "concat"


def _for_answers(name: str) -> Case:
    return lambda stage: stage.on(name) and stage.get("objective") not in {"sft", None}


def _of_adapters(stage: Stage) -> bool:
    return stage.stated("tuning") and stage.get("tuning") in {"full", "freeze"}


def _not_by_steps(strategy: str, every: str) -> Case:
    return lambda stage: bool(stage.get(every)) and stage.text(strategy) not in {None, "steps"}


def _unlike(stage: Stage, one: str, other: str) -> bool:
    mine, yours = stage.get(one), stage.get(other)
    return mine is not None and yours is not None and mine != yours


def _groups(stage: Stage) -> bool:
    groups, ranks = stage.count("kv_heads"), stage.count("tp")
    return bool(groups and ranks) and (groups or 1) % (ranks or 1) != 0 and (ranks or 1) % (groups or 1) != 0


REFUSALS = (
    Refusal(_FACTORY, _concatenated, ("data_weights", "mix_strategy"), "mix_strategy: interleave_under or _over"),
    Refusal((*_FACTORY, *_AXOLOTL, "transformers"), lambda one: one.on("streaming") and "steps" not in one.values,
            ("streaming",), "max_steps: streamed data has no length"),
    Refusal(_FACTORY, lambda one: one.on("streaming") and "max_samples" in one.values, ("max_samples", "streaming"),
            "one of the two"),
    Refusal(_FACTORY, lambda one: one.on("streaming") and 0 < _held_out(one) < 1, ("held_out", "streaming"),
            "a whole number of rows: streamed data has no length"),
    Refusal(_FACTORY, lambda one: _held_out(one) > 0 and "eval_data" in one.values, ("eval_data", "held_out"),
            "one of the two"),
    Refusal(_FACTORY, lambda one: one.on("mask_history") and one.on("train_on_prompt"),
            ("mask_history", "train_on_prompt"), "one of the two"),
    *(Refusal(_FACTORY, _for_answers(one), (one, "objective"), "stage: sft")
      for one in ("neat_packing", "train_on_prompt", "mask_history", "predict_with_generate")),
    Refusal(_FACTORY, lambda one: one.get("objective") in {"rm", "ppo"} and one.on("best"), ("best", "objective"),
            "no best checkpoint: rewards are not evaluated"),
    *(Refusal(_FACTORY, lambda one, key=key: _of_adapters(one) and key in one.values, (key, "tuning"),  # type: ignore[misc]
              "finetuning_type: lora") for key in ("adapter_path", "quantized")),
    Refusal(_AXOLOTL, lambda one: one.on("streaming") and _held_out(one) > 0, ("held_out", "streaming"),
            "test_datasets: nothing is held out of streamed data"),
    Refusal(_AXOLOTL, lambda one: one.on("packing") and one.get("objective") not in _TUNED, ("packing", "objective"),
            "sample_packing: false: pairs are not packed"),
    Refusal(_AXOLOTL, lambda one: _held_out(one) > 0 and "eval_data" in one.values, ("eval_data", "held_out"),
            "one of the two"),
    Refusal(_AXOLOTL, lambda one: one.number("held_out") == 0 and "eval_data" not in one.values
            and bool(one.get("eval_every")) and one.get("eval_strategy") != "no", ("eval_every", "held_out"),
            "a part that is held out, or test_datasets"),
    Refusal(_AXOLOTL, _not_by_steps("save_strategy", "save_every"), ("save_every", "save_strategy"),
            "save_strategy: steps"),
    Refusal(_AXOLOTL, _not_by_steps("eval_strategy", "eval_every"), ("eval_every", "eval_strategy"),
            "eval_strategy: steps"),
    Refusal(_NANOTRON, lambda one: (one.count("kv_heads") or 0) < (one.count("tp") or 0) and "kv_heads" in one.values,
            ("tp", "kv_heads"), "at most one rank for each head of keys"),
    Refusal(_NANOTRON, lambda one: one.get("vocab") != -1 and (one.count("vocab") or 0) > (one.count("data_vocab") or 0)
            and "data_vocab" in one.values, ("data_vocab", "vocab"), "the model's vocabulary"),
    Refusal(_NANOTRON, lambda one: _unlike(one, "tokenizer", "data_tokenizer"), ("data_tokenizer", "tokenizer"),
            "the tokenizer that the data was made with"),
    Refusal(_MEGATRON, lambda one: bool(one.count("save_every")) and (one.count("retain_every") or 0)
            % (one.count("save_every") or 1) != 0, ("retain_every", "save_every"), "a multiple of the other one"),
    Refusal(_MEGATRON, lambda one: one.on("latent") and one.on("grouped_queries"), ("grouped_queries", "latent"),
            "one of the two"),
    Refusal(_MEGATRON, lambda one: not one.on("partial") and (one.count("ep") or 1) > 1 and "experts" not in one.values,
            ("ep",), "--num-experts"),
    Refusal(_MEGATRON, _groups, ("kv_heads", "tp"), "a multiple or a divisor of the tensor ranks"),
    Refusal(_TUNE, lambda one: one.on("in_backward") and (one.count("accumulation") or 1) > 1,
            ("in_backward", "accumulation"), "one of the two"),
    Refusal(_TUNE, lambda one: one.on("in_backward") and one.number("clip") is not None, ("in_backward", "clip"),
            "one of the two"),
    Refusal(_TUNE, lambda one: one.get("precision") == "fp16", ("precision",), "bf16 or fp32"),
    Refusal(_TUNE, lambda one: one.on("packing") and "context" not in one.values, ("packing",),
            "tokenizer.max_seq_len"),
    Refusal(_TUNE, lambda one: one.on("offloaded") and not one.on("checkpointed"), ("offloaded", "checkpointed"),
            "enable_activation_checkpointing: True"),
    Refusal(("torchtitan",), lambda one: one.stated("keep") and one.count("keep") == 1, ("keep",),
            "2 or more: the last one may be half written"),
)  # fmt: skip


@stage_rule("launch-refused", "I-05", "The framework refuses these settings")
def refused(stage: Stage) -> Iterator[Fault]:
    """Every case of the table, at the figure that is named first."""
    for row in REFUSALS:
        if stage.framework not in row.frameworks or not row.case(stage):
            continue
        shown = [stage.values[name] for name in row.at if name in stage.values]
        figures = ", ".join(f"{value.key} {value.value}" for value in shown)
        alone = len(shown) == 1 and stage.framework not in TRAINERS and row.expected.startswith("--")
        yield stage.fault(row.at, figures + (f" without {row.expected}" if alone else ""), row.expected,
                    "the launch stops")  # fmt: skip
