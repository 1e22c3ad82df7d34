"""`pytest --stages`: a test for every stage and kind, from the specs of the project that pytest runs in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.commands.find_project import find_root
from stages.errors import UserError
from stages.spec.validate import near
from stages.testing import differences, golden, page_emitted
from stages.testing.golden import GoldenError
from stages.testing.golden_check import GoldenChecker
from stages.testing.stage_pages import PAGES, StagePages
from stages.testing.trial_runs import TrialRuns
from stages.testing.unused import removal

SUFFIX = ".yaml"


class Stages:
    """The part of the plugin that --stages switches on."""

    def __init__(self, config: pytest.Config) -> None:
        try:
            self.root = find_root()
        except UserError as error:
            raise pytest.UsageError(f"--stages: {error}") from error
        self.goldens = (self.root / config.getini("stages_goldens")).resolve()

    def pytest_report_header(self, config: pytest.Config) -> str:
        """Where specs and goldens are, and what repeats a twin's cuts."""
        return f"stages: {self.root}, goldens in {self.goldens}, twins cut by --stages-seed {config.option.stages_seed}"

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> Iterator[None]:
        """Add the stages' tests, before -k and -m choose; none where other paths were named.

        Pipelines that cannot be read are added behind that choice: no test of theirs is there to be chosen.
        """
        within = self._within(session.config)
        if within is None:
            return (yield)
        pages = StagePages(self.root)
        checker = GoldenChecker(self.root, session.config.getoption("stages_update"))
        runs = TrialRuns(pages, session.config)
        found = list(self._items(session, pages, checker, runs, _selected(session.config, pages)))
        items += [item for item in found if item.path.is_relative_to(within)]
        yield
        items += [item for item in self._unreadable(session, pages) if item.path.is_relative_to(within)]

    def _within(self, config: pytest.Config) -> Path | None:
        """The folder of goldens that paths on the command line name; None where they name none of it."""
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            return self.goldens
        named = [(config.invocation_params.dir / arg.partition("::")[0]).resolve() for arg in config.args]
        if any(self.goldens.is_relative_to(path) for path in named):
            return self.goldens
        return next((path for path in named if path.is_relative_to(self.goldens)), None)

    def _items(
        self, session: pytest.Session, pages: StagePages, checker: GoldenChecker, runs: TrialRuns, selected: list[str]
    ) -> Iterator[pytest.Item]:
        def item(kind: str, ref: str) -> pytest.Item:
            folder = Folder.from_parent(session, name=ref, nodeid=self._name(ref), path=self.goldens / ref)
            made = StageItem.from_parent(folder, name=kind, path=self._path(ref, kind))
            made.prepare(kind, ref, pages, checker, runs)
            return made

        everything = selected == pages.refs
        for ref in selected:
            yield from (item(kind, ref) for kind in PAGES)
            if (stage := pages.trained(ref)) is not None:
                yield item("steps", ref)
                # What has no golden has nothing to update.
                if stage.phases and not session.config.getoption("stages_update"):
                    yield from (item(kind, ref) for kind in ("twin", "layout"))
        if everything and pages.nemo:
            yield item("emitted", page_emitted.NEMO)
        if everything and not pages.unreadable:
            known = {self._path(ref, kind) for ref in pages.refs for kind in (*PAGES, "steps")}
            folder = Folder.from_parent(session, name="stages", nodeid=self._name("."), path=self.goldens)
            yield Unused.from_parent(folder, name="unused", known=known | {self._path(page_emitted.NEMO, "emitted")})

    def _unreadable(self, session: pytest.Session, pages: StagePages) -> Iterator[pytest.Item]:
        for pipeline, error in pages.unreadable.items():
            folder = Folder.from_parent(
                session, name=pipeline, nodeid=self._name(pipeline), path=self.goldens / pipeline
            )
            yield Unreadable.from_parent(folder, name="spec", error=error)

    def _name(self, ref: str) -> str:
        path = self.goldens / ref
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def _path(self, ref: str, kind: str) -> Path:
        return self.goldens / f"{ref}.{kind}{SUFFIX}"


def _selected(config: pytest.Config, pages: StagePages) -> list[str]:
    """The stages that --stages-select names. Raises UsageError for what is no stage."""
    wanted: list[str] = config.getoption("stages_select")
    for one in wanted:
        if one not in (*pages.refs, *pages.pipelines, *pages.unreadable):
            names = [*pages.pipelines, *pages.refs]
            raise pytest.UsageError(
                f"--stages-select: found {one!r}; allowed: {', '.join(names)}. {near(one, names)}".rstrip()
            )
    return [ref for ref in pages.refs if not wanted or ref in wanted or ref.partition("/")[0] in wanted]


class Folder(pytest.Collector):
    """What the tests of a stage have in common: where its goldens are."""

    def collect(self) -> list[pytest.Item]:
        """Nothing: items are made with it."""
        return []


class _Item(pytest.Item):
    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *rest: Any) -> Any:
        """A difference or a mistake in words, without a traceback."""
        if isinstance(excinfo.value, UserError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *rest)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The golden's path, and what is tested."""
        return self.path, None, self.nodeid


class StageItem(_Item):
    """One kind of test of one stage."""

    def prepare(self, kind: str, ref: str, pages: StagePages, checker: GoldenChecker, runs: TrialRuns) -> None:
        """Give it what it compares."""
        self.kind, self.ref, self.pages, self.checker, self.runs = kind, ref, pages, checker, runs
        self.add_marker(kind)

    def runtest(self) -> None:
        """Compare. Raises GoldenError, or what is wrong with the project."""
        if self.kind == "twin":
            self.user_properties.append(("stages-twin", self.runs.twin(self.ref)))
        elif self.kind == "layout":
            self.runs.layout(self.ref)
        elif self.kind == "steps":
            self._steps()
        else:
            key = None if self.ref == page_emitted.NEMO else self.pages.keys(self.ref)
            found = self.pages.page(self.kind, self.ref)
            self.checker.check(self, self.path, found, key=key, specs=self._specs, again=self._again)

    def _steps(self) -> None:
        from stages.testing import curves

        run = self.runs.whole(self.ref)
        self.checker.check(
            self, self.path, run.content, key=self.pages.keys(self.ref), environment=run.environment,
            compare=curves.change, specs=self._specs, again=self._again,
            elsewhere=lambda others: curves.hold_same_order(others, run.content),
        )  # fmt: skip

    @property
    def _again(self) -> str:
        select = "" if self.ref == page_emitted.NEMO else f" --stages-select {self.ref}"
        return f"--stages{select} -m {self.kind}"

    def _specs(self) -> list[tuple[str, Any, Any]]:
        """Fields of the specs that differ from the golden of kind `spec`."""
        if self.kind == "spec" or self.ref == page_emitted.NEMO:
            return []
        kept = golden.read(self.path.parent / f"{self.ref.partition('/')[2]}.spec{SUFFIX}")
        return differences.changes(kept.get("golden", {}), self.pages.page("spec", self.ref)) if kept else []


class Unreadable(_Item):
    """A pipeline whose specs cannot be read."""

    def __init__(self, *, error: UserError, **rest: Any) -> None:
        super().__init__(**rest)
        self.error = error

    def runtest(self) -> None:
        """Raise what is wrong with it."""
        raise self.error


class Unused(_Item):
    """Goldens of stages that there are not any more."""

    def __init__(self, *, known: set[Path], **rest: Any) -> None:
        super().__init__(**rest)
        self.known = known
        self.add_marker("spec")

    def runtest(self) -> None:
        """Raise GoldenError where there are any; with --stages-update they will be removed."""
        left = [path for path in sorted(self.path.rglob(f"*{SUFFIX}")) if path not in self.known]
        if left and not self.config.getoption("stages_update"):
            listed = "\n".join(f"  {path}" for path in left)
            raise GoldenError(f"goldens of no stage; remove them, or update with a reason:\n{listed}")
        for path in left:
            self.user_properties.append(("stages-change", removal(path, "stage")))
