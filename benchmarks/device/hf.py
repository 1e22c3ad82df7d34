"""The same model under Hugging Face's Trainer: the alternative that most people would use."""

from __future__ import annotations

import statistics
import tempfile
from importlib.util import find_spec
from typing import Any

import torch

from benchmarks.device.harness import RATE, WARM, Ran, Read, Work, now, peak, reset


def train(work: Work, device: torch.device) -> Ran:
    """bf16 autocast over fp32 weights, or fp32, fused AdamW, clip at 1, the fastest attention: as `harness.train`."""
    from transformers import LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    class Clock(TrainerCallback):
        """Seconds of every step, by a clock that waits for the device."""

        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.began = 0.0

        def on_step_begin(self, *_args: Any, **_named: Any) -> None:
            self.began = now(device)

        def on_step_end(self, *_args: Any, **_named: Any) -> None:
            self.seconds.append(now(device) - self.began)

    reset(device)
    with device:
        model = LlamaForCausalLM(configuration(work)).float()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=work.steps, per_device_train_batch_size=work.micro_batch,
            gradient_accumulation_steps=work.accumulate, bf16=work.bf16, optim="adamw_torch_fused", learning_rate=RATE,
            lr_scheduler_type="constant", weight_decay=0.1, adam_beta1=0.9, adam_beta2=0.95, max_grad_norm=1.0,
            gradient_checkpointing=work.recomputed, gradient_checkpointing_kwargs={"use_reentrant": False},
            report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
            use_cpu=device.type == "cpu", dataloader_pin_memory=device.type == "cuda",
        )  # fmt: skip
        clock = Clock()
        Trainer(model=model, args=arguments, train_dataset=Rows(work), callbacks=[clock]).train()
    return Ran(statistics.median(clock.seconds[WARM:]), *peak(device))


def attention(device: torch.device) -> str:
    """FlashAttention 2's package where it is there (version 4's has the same name), else torch's choice of kernels."""
    return "flash_attention_2" if device.type == "cuda" and find_spec("flash_attn_2_cuda") is not None else "sdpa"


def configuration(work: Work) -> Any:
    """The model's shape in transformers' words."""
    from transformers import LlamaConfig

    model = work.model
    return LlamaConfig(
        vocab_size=model.vocab, hidden_size=model.hidden, intermediate_size=model.ffn, num_hidden_layers=model.layers,
        num_attention_heads=model.heads, num_key_value_heads=model.kv_heads, head_dim=model.head_dim,
        max_position_embeddings=work.context, rms_norm_eps=model.norm_eps, tie_word_embeddings=model.tied,
        use_cache=False, attn_implementation=attention(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
    )  # fmt: skip


class Rows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """The harness's rows; the model shifts the labels itself."""

    def __init__(self, work: Work) -> None:
        self.read, self.count = Read(work), work.steps * work.micro_batch * work.accumulate

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        (row,) = self.read(number, 1, 0)
        tokens = torch.from_numpy(row.tokens)
        return {"input_ids": tokens, "labels": tokens}
