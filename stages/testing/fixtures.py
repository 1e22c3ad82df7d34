"""The fixtures `curve`, `twin` and `layout`, for tests of any training loop (docs/testing-any-loop.md).

Each takes `train(until, folder, watch)`, which `stages.testing.loops` describes.
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import pytest

from stages.errors import UserError
from stages.store import fingerprint
from stages.store.digest import digest_bytes
from stages.testing import curves, golden, loops
from stages.testing.golden import GoldenError
from stages.testing.golden_check import GoldenChecker, command, shown
from stages.testing.loops import Train
from stages.testing.unused import FOLDER

PACKAGES = ("numpy", "transformers", "accelerate", "datasets", "lightning", "pytorch-lightning")
Tier = Literal["bit-exact", "same-order"]
DIGITS = 12
INSTALLED = ("site-packages", "dist-packages")


@contextmanager
def _in_words() -> Iterator[None]:
    """Within the block, a difference or a mistake fails the test in words, without a traceback."""
    try:
        yield
    except UserError as error:
        message = str(error)
    else:
        return
    raise pytest.fail.Exception(message, pytrace=False) from None


class _Fixture:
    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self.item: pytest.Item = request.node
        self.config = request.config
        self._folder, self._runs = folder, 0

    def fresh(self) -> Path:
        """A folder for one run; the run makes it."""
        self._runs += 1
        return self._folder / f"run-{self._runs}"


class Curve(_Fixture):
    """A run step by step against its golden."""

    @_in_words()
    def __call__(self, train: Train, steps: int, name: str = "") -> None:
        """Train for so many steps and compare. `name` sets several curves of one test apart.

        The test fails where a step differs from the golden's, where there is none, and for a loop that does not repeat
        itself.
        """
        path = self._path(name)
        if ("stages-used", str(path)) in self.item.user_properties:
            raise GoldenError("two curves of one test need names: curve(train, steps=..., name=...).")
        self.item.user_properties.append(("stages-used", str(path)))
        update = bool(self.config.getoption("stages_update"))
        if not path.exists() and not update:
            name = shown(path, self.config.rootpath)
            self.item.user_properties.append(("stages-missing", name))
            raise GoldenError(f"{name}: there is no golden. Make it: {command(self._node)}")
        found = loops.run(train, steps, self.fresh())
        if update:
            loops.repeatable(train, steps, self.fresh(), found)
        try:
            self._hold(path, train, found)
        except GoldenError:
            loops.repeatable(train, steps, self.fresh(), found)
            raise

    def _hold(self, path: Path, train: Train, found: loops.Run) -> None:
        content = found.content()
        self._checker(train).check(
            self.item, path, content, environment=str(self._fingerprint["id"]), compare=curves.change,
            elsewhere=lambda others: curves.hold_same_order(others, content), again=self._node,
        )  # fmt: skip

    def _checker(self, train: Train) -> GoldenChecker:
        beside = {"files": digests(self.item, train, self.config.rootpath), "environment": self._environment}
        return GoldenChecker(self.config.rootpath, bool(self.config.getoption("stages_update")), beside)

    @cached_property
    def _fingerprint(self) -> dict[str, object]:
        import torch

        device: dict[str, object] = {"threads": torch.get_num_threads()}
        if torch.cuda.is_available():
            device["cuda"] = torch.cuda.get_device_name()
        return fingerprint.fingerprint(device, torch.get_num_threads())

    @property
    def _environment(self) -> dict[str, Any]:
        """The fingerprint's fields, and packages that may move a bit."""
        return {**golden.environment(self._fingerprint), **fingerprint.installed(PACKAGES)}

    @property
    def _node(self) -> str:
        return f'"{self.item.nodeid}"' if re.search(r"[\[\s]", self.item.nodeid) else self.item.nodeid

    def _path(self, name: str) -> Path:
        """Where the golden is: next to the test's file, called as the test is."""
        called = ".".join([*self.item.nodeid.split("::")[1:], *([name] if name else [])])
        plain = re.sub(r"[^\w.-]+", "-", called)
        if plain != called:  # two names may become one
            plain = f"{plain}-{hashlib.sha256(called.encode()).hexdigest()[:6]}"
        return self.item.path.parent / FOLDER / self.item.path.stem / f"{plain}.yaml"


class Twin(_Fixture):
    """A run that is stopped and resumed twice against an uninterrupted one. It needs no golden."""

    @_in_words()
    def __call__(self, train: Train, steps: int, cuts: Sequence[int] = ()) -> None:
        """Train for so many steps, once without a stop and once with two, and compare every step.

        `cuts`: after which steps; drawn with --stages-seed if left out. The test fails where a step differs.
        """
        if steps < 3 or not set(cuts) <= set(range(1, steps)):
            raise GoldenError(
                f"twin(steps={steps}, cuts={tuple(cuts)}): two stops need at least 3 steps, and are after steps 1 to "
                f"{steps - 1}."
            )
        seed = self.config.getoption("stages_seed")
        cuts = sorted(cuts or random.Random(f"{seed} {self.item.nodeid}").sample(range(1, steps), 2))
        whole = loops.run(train, steps, self.fresh())
        title = f"stopped after steps {' and '.join(map(str, cuts))} of {steps} (--stages-seed {seed})"
        try:
            resumed = loops.run(train, steps, self.fresh(), cuts)
        except GoldenError:
            loops.repeatable(train, steps, self.fresh(), whole)
            raise
        difference = curves.change(whole.content(), resumed.content(whole.drawn))
        if difference is not None:
            again = loops.repeatable(train, steps, self.fresh(), whole)
            tensors = loops.run(train, steps, self.fresh(), cuts, named=True).tensors
            name = curves.named(difference, again.tensors, tensors)
            raise GoldenError(f"{title} and resumed, it is not the uninterrupted run: {difference.text}{name}")
        self.item.user_properties.append(("stages-twin", f"{self.item.nodeid}: {title}: equal"))


class Layout(_Fixture):
    """Two ways of computing one run, such as one rank and two, or other micro-batches. It needs no golden."""

    @_in_words()
    def __call__(self, one: Train, other: Train, steps: int, tier: Tier = "bit-exact") -> None:
        """Train for so many steps in both ways and compare.

        tier "bit-exact": every step to the last bit, except the process-wide generators. "same-order": the first three
        steps' numbers to 1e-5 relative, on the same samples. The test fails where they differ.
        """
        if tier not in get_args(Tier):  # another word would be taken for the looser one
            raise GoldenError(f"layout: tier: found {tier!r}; allowed: {' or '.join(map(repr, get_args(Tier)))}.")
        first = loops.run(one, steps, self.fresh())
        second = loops.run(other, steps, self.fresh())
        old, new = (run.content(drawn=()) for run in (first, second))
        title = f"{_called(one)} and {_called(other)} are not the same run"
        exact = tier == "bit-exact"
        difference = curves.change(old, new) if exact else curves.beyond(old, new)
        if difference is not None:
            tensors = [
                loops.repeatable(train, steps, self.fresh(), run).tensors
                for train, run in ((one, first), (other, second))
            ]
            within = "" if exact else f", to {curves.SAME_ORDER:g}"
            raise GoldenError(f"{title}{within}: {difference.text}{curves.named(difference, *tensors)}")


def _called(train: Any) -> str:
    return str(getattr(train, "__name__", train))


def digests(item: pytest.Item, train: Any, root: Path) -> dict[str, str]:
    """Path -> digest of the modules that a test and its loop reach by what they import, below the project's root."""
    begin = [getattr(item, "module", None), sys.modules.get(getattr(train, "__module__", ""))]
    waiting = [module for module in begin if isinstance(module, ModuleType)]
    found: dict[str, str] = {}
    while waiting:
        module = waiting.pop()
        path = Path(str(vars(module).get("__file__") or ""))
        if not path.is_file() or not path.is_relative_to(root) or set(path.parts) & set(INSTALLED):
            continue
        name = path.relative_to(root).as_posix()
        if name not in found:
            found[name] = digest_bytes(path.read_bytes())[:DIGITS]
            waiting += _reached(module)
    return dict(sorted(found.items()))


def _reached(module: ModuleType) -> Iterator[ModuleType]:
    """The modules that another has in its namespace, or something of."""
    for value in list(vars(module).values()):
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        found = sys.modules.get(name) if isinstance(name, str) else None
        if isinstance(found, ModuleType):
            yield found
