"""Which of the data and the generators is named first, where samples and dropout draw from one generator or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stages.testing import curves, loops
from stages.testing.watch import Watch

STEPS, CUT = 6, 3
DATA = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))


class Shared:
    """Samples and dropout masks are drawn with the process-wide generator."""

    lengths: tuple[int, ...] = (8,)  # a sample's number of values, by its number
    batch = 4

    def train(self, until: int, folder: Path, watch: Watch) -> None:
        torch.manual_seed(1)
        model = self.model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), self.norm(), nn.Linear(16, 1))
        optimizer, self.own, self.done = torch.optim.SGD(model.parameters(), lr=0.1), torch.Generator(), 0
        if (folder / "last.pt").exists():
            saved = torch.load(folder / "last.pt")
            model.load_state_dict(saved["model"])
            self.restore(saved)
        for _ in range(self.done, until):
            samples = [DATA[row, : self.lengths[row % len(self.lengths)]] for row in self.rows()]
            batch = torch.stack([nn.functional.pad(one, (0, 8 - len(one))) for one in samples])
            loss = model(batch).square().mean()
            loss.backward()
            watch(loss=loss, batch=samples, model=model, optimizer=optimizer)
            optimizer.step()
            optimizer.zero_grad()
        states = {"rng": torch.get_rng_state(), "own": self.own.get_state(), "model": model.state_dict()}
        torch.save({"done": until, **states}, folder / "last.pt")

    def norm(self) -> nn.Module:
        return nn.Identity()

    def restore(self, saved: dict[str, Any]) -> None:
        self.done = saved["done"]
        torch.set_rng_state(saved["rng"])
        self.own.set_state(saved["own"])

    def rows(self) -> list[int]:
        return torch.randint(len(DATA), (self.batch,)).tolist()


class Apart(Shared):
    """Samples are drawn with a generator of their own."""

    def rows(self) -> list[int]:
        return torch.randint(len(DATA), (self.batch,), generator=self.own).tolist()


class SharedLost(Shared):
    def restore(self, saved: dict[str, Any]) -> None:
        super().restore(saved | {"rng": torch.get_rng_state()})


class DropoutLost(Apart):
    def restore(self, saved: dict[str, Any]) -> None:
        super().restore(saved | {"rng": torch.get_rng_state()})


class SamplerLost(Apart):
    def restore(self, saved: dict[str, Any]) -> None:
        super().restore(saved | {"own": self.own.get_state()})


class Fewer(Shared):
    """After a resume each step reads one sample less, and so draws fewer numbers."""

    def restore(self, saved: dict[str, Any]) -> None:
        super().restore(saved)
        self.batch = Shared.batch - 1


class LengthsShared(Shared):
    lengths = (3, 8, 5)


class LengthsLost(LengthsShared, SharedLost):
    pass


class Normed(Apart):
    """BatchNorm's running statistics follow from the dropout masks."""

    def norm(self) -> nn.Module:
        return nn.BatchNorm1d(16)


class NormedDropoutLost(Normed, DropoutLost):
    pass


class StatisticsLost(Normed):
    def restore(self, saved: dict[str, Any]) -> None:
        super().restore(saved)
        self.model[2].reset_running_stats()


def message(sound: type[Shared], broken: type[Shared], folder: Path) -> str:
    """The comparison of the resumed run with the uninterrupted one; "" where they are equal."""
    whole = loops.run(sound().train, STEPS, folder / "whole")
    resumed = loops.run(broken().train, STEPS, folder / "resumed", (CUT,))
    found = curves.change(whole.content(), resumed.content(whole.drawn))
    return found.text if found else ""


@pytest.mark.parametrize("sound", [Shared, Apart, LengthsShared, Normed])
def test_sound_loops_resume_to_the_same_run(sound: type[Shared], tmp_path: Path) -> None:
    assert message(sound, sound, tmp_path) == ""


@pytest.mark.parametrize(
    ("sound", "broken", "first", "beside"),
    [
        (Shared, SharedLost, "RNG of torch", "data"),
        (Apart, DropoutLost, "RNG of torch", None),
        (Normed, NormedDropoutLost, "RNG of torch", "buffers"),
        (Normed, StatisticsLost, "buffers", None),
        (Apart, SamplerLost, "data", None),
        (Shared, Fewer, "data", "RNG of torch"),
        (LengthsShared, LengthsLost, "data", "RNG of torch"),
    ],
)
def test_the_cause_is_named_first(
    sound: type[Shared], broken: type[Shared], first: str, beside: str | None, tmp_path: Path
) -> None:
    said = message(sound, broken, tmp_path).splitlines()
    assert said[0] == f"first differs at step {CUT + 1}: {first}"
    others = said[1].removeprefix("  in the same step ").split(", ")
    assert (beside in others) if beside else not {"data", "RNG of torch"} & {*others}, said
    both = "or samples are drawn with the RNG of torch, which was not restored"
    assert any(both in line for line in said) == (first == "data" and beside is not None)
