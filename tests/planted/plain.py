"""A training loop in plain torch with everything that a checkpoint has to bring back. Defects are overrides of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.testing.watch import Watch

SAMPLES, LENGTH, VOCAB, BATCH, MICRO = 22, 8, 16, 4, 2  # 22 samples: the last step of an epoch has 2
PER_EPOCH = -(-SAMPLES // BATCH)
IGNORED = -100


def corpus(seed: int = 1, samples: int = SAMPLES) -> tuple[Tensor, Tensor]:
    """Tokens [N, T], and labels [N, T] of which a different number counts in each sample."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCAB, (samples, LENGTH), generator=generator).cumsum(1) % VOCAB
    labels = (tokens + 1) % VOCAB
    kept = torch.randint(2, LENGTH + 1, (samples, 1), generator=generator)
    return tokens, labels.masked_fill(torch.arange(LENGTH) >= kept, IGNORED)


class Model(nn.Module):
    def __init__(self, rate: float = 0.1) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 16)
        self.hidden = nn.Linear(16, 32)
        self.dropout = nn.Dropout(rate)
        self.head = nn.Linear(32, VOCAB)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.dropout(torch.relu(self.hidden(self.embed(tokens)))))


def summed(model: nn.Module, tokens: Tensor, labels: Tensor) -> Tensor:
    """The loss of all labels together."""
    return nn.functional.cross_entropy(model(tokens).flatten(0, 1), labels.flatten(), reduction="sum")


def heldout(model: nn.Module) -> float:
    """Loss of samples that no loop trains on."""
    tokens, labels = corpus(seed=2, samples=64)
    model.eval()
    with torch.no_grad():
        return float(summed(model, tokens, labels) / (labels != IGNORED).sum())


class Plain:
    """The loop: `Plain().train` is what fixtures take."""

    micro, dropout, seed = MICRO, 0.1, 7

    def train(self, until: int, folder: Path, watch: Watch) -> nn.Module:
        self.build()
        saved = folder / "checkpoint.pt"
        if saved.exists():
            self.restore(torch.load(saved))
        self.begin = self.done
        while self.done < until:
            self.step(watch)
        torch.save(self.state(), saved)
        return self.model

    def build(self) -> None:
        torch.manual_seed(self.seed)
        self.done, self.tokens, self.labels = 0, *corpus()
        self.model = Model(self.dropout).train()
        self.ema = Model().requires_grad_(False)
        self.ema.load_state_dict(self.model.state_dict())
        matrices = [one for one in self.model.parameters() if one.ndim > 1]
        vectors = [one for one in self.model.parameters() if one.ndim == 1]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-2)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1 / (1 + step / 20))
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=3)

    def step(self, watch: Watch) -> None:
        self.set_weight_decay()
        rows = self.rows()
        batches = [(self.tokens[part], self.labels[part]) for part in rows.split(self.micro)]
        loss = torch.zeros(())
        for part in self.losses(batches):
            self.scaler.scale(part).backward()
            loss += part.detach()
        self.clip()
        watch(loss=loss, batch=batches, model=self.model, optimizer=self.optimizer, ema=self.ema, scaler=self.scaler)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.schedule()
        for kept, new in zip(self.ema.parameters(), self.model.parameters(), strict=True):
            kept.lerp_(new.detach(), 0.1)
        self.done += 1

    def rows(self) -> Tensor:
        """Numbers of the samples of the next step."""
        epoch, place = divmod(self.position(), PER_EPOCH)
        order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(self.epoch_seed(epoch)))
        return order.split(BATCH)[place]

    def position(self) -> int:
        """How many steps of the data stream were read."""
        return self.done

    def epoch_seed(self, epoch: int) -> int:
        return 100 * self.seed + epoch

    def losses(self, batches: list[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        """Each micro-batch's part of the mean over all labels of the step."""
        count = sum(int((labels != IGNORED).sum()) for _, labels in batches)
        for tokens, labels in batches:
            yield summed(self.model, tokens, labels) / count

    def clip(self) -> None:
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)

    def set_weight_decay(self) -> None:
        self.optimizer.param_groups[0]["weight_decay"] = 0.1 / (1 + self.done / 20)

    def schedule(self) -> None:
        self.scheduler.step()

    def parts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("model", "ema", "optimizer", "scheduler", "scaler")}

    def state(self) -> dict[str, Any]:
        """A checkpoint."""
        return {"done": self.done, "rng": torch.get_rng_state()} | {
            name: one.state_dict() for name, one in self.parts().items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.done = state["done"]
        for name, one in self.parts().items():
            one.load_state_dict(state[name])
        torch.set_rng_state(state["rng"])
