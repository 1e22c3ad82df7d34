"""One slip tried: what `stages check` says of the specs that have it.

Everything that the edited file cannot change is taken over from the shipped specs, resolved once: what is checked is
what the command checks, only sooner (a test compares both on a sample).
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from stages.check import run as checks
from stages.check.context import Context
from stages.check.findings import Finding, unwaived
from stages.errors import InvalidSpecs, UserError, Where
from stages.spec.project import Project
from tests.mutants.campaign.edits import Edit

READ_OTHERS = ("I-41", "S-11", "S-12")  # the invariants that look into pipelines beside their own


@dataclass(frozen=True)
class Outcome:
    """What became of a slip.

    `verdict` is one of: caught (a finding at the line of the slip), elsewhere (findings, none of them there), crash (an
    error that is no message), silent (no finding, and the specs say something else now), same (no finding, and nothing
    that is read has changed). `ids` are the invariants that spoke.
    """

    verdict: str
    ids: tuple[str, ...] = ()
    detail: str = ""
    seconds: float = 0.0


class Bench:
    """A project in which one file of specs/ at a time is edited, and its specs as they are, resolved."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shipped = Project.load(root)
        self.contexts = {
            (name, scale): checks.make_context(self.shipped, name, scale)
            for scale in self.shipped.scales() for name in self.shipped.pipelines(variants=True, scale=scale)
        }  # fmt: skip
        self._check = checks.check
        self._known = {id(one.pipeline): (one, list(self._check(one))) for one in self.contexts.values()}
        self.machines = self._machines(self.shipped)

    @contextmanager
    def edited(self, file: str, text: str) -> Iterator[Project]:
        """The project with another text in a file; the file is as before afterwards."""
        path = self.root / "specs" / file
        before = path.read_bytes()
        path.write_text(text)
        try:
            yield self.project(file)
        finally:
            path.write_bytes(before)

    def try_out(self, edit: Edit) -> Outcome:
        """The verdict on one edit."""
        began = time.perf_counter()
        with self.edited(edit.file, edit.text) as project:
            try:
                found = self.findings(project)
            except Exception as error:  # whatever a slip brings up is counted
                last = traceback.extract_tb(error.__traceback__)[-1]
                at = f"{type(error).__name__} in {Path(last.filename).name}: {str(error)[:80]}"
                return Outcome("crash", (), at, time.perf_counter() - began)
            seconds = time.perf_counter() - began
            if not found:
                return Outcome("same" if self._same(project) else "silent", (), "", seconds)
            here = [one for one, where in found if where is not None and self._at(edit, where)]
            ids = tuple(dict.fromkeys(here or [one for one, _ in found]))
            places = ", ".join(dict.fromkeys(str(where) for _, where in found[:3]))
            return Outcome("caught" if here else "elsewhere", ids, places, seconds)

    def findings(self, project: Project) -> list[tuple[str, Where | None]]:
        """(invariant, place) of everything that makes `stages check` exit with other than 0."""
        try:
            return [(one.id, one.where) for one in self.unwaived(project)]
        except InvalidSpecs as wrong:
            return [("spec", one.where) for one in wrong.errors]
        except UserError:
            return [("spec", None)]

    def unwaived(self, project: Project) -> list[Finding]:
        """What the command finds and nobody has waived."""
        checks.check = self._remembered
        try:
            return unwaived(checks.run_all(project))
        finally:
            checks.check = self._check

    def _remembered(self, context: Context, only: Any = ()) -> Iterator[Finding]:
        known, found = self._known.get(id(context.pipeline), (None, []))
        changed = _changed(context, known) if known is not None else {"pipeline"}
        if not changed <= {"others"}:
            return self._check(context, only)
        if not changed:
            return iter(found)
        kept = [one for one in found if one.id not in READ_OTHERS]
        return iter([*kept, *self._check(context, READ_OTHERS)])

    def project(self, file: str) -> Project:
        """The project with an edited file: read again where it matters."""
        folder, shipped = file.partition("/")[0], self.shipped
        project = Project.load(self.root)
        edited = self.root / "specs" / file
        documents = shipped.files._documents
        project.files._documents = {path: one for path, one in documents.items() if path != edited}
        if folder == "data":
            return project
        project.__dict__["data"] = shipped.data
        scales = set(self._and_below("scales", edited.stem)) if folder == "scales" else set()
        pipelines = set(self._variants(folder))
        project._scales = {name: one for name, one in shipped._scales.items() if name not in scales}
        project._pipelines = {name: one for name, one in shipped._pipelines.items() if name not in pipelines}
        full = {one.full.scale for one in self.contexts.values() if one.full is not None}
        family = set(self._family(folder)) if folder in self.shipped.files.pipelines() else set()
        project._maps = {
            (name, scale): one for (name, scale), one in getattr(shipped, "_maps", {}).items()
            if name not in family and scale not in scales
        }  # fmt: skip
        project._resolved = {
            (name, scale): one for (name, scale), one in shipped._resolved.items()
            if name not in pipelines and scale not in scales and not full & scales
        }  # fmt: skip
        return project

    def _variants(self, pipeline: str) -> Iterator[str]:
        yield pipeline
        for name in self.shipped.pipelines(variants=True):
            if self.shipped.loaded(name).raw.extends == pipeline:
                yield from self._variants(name)

    def _family(self, pipeline: str) -> Iterator[str]:
        """A pipeline, what it extends, and all that extend any of these."""
        above = pipeline
        while (extended := self.shipped.loaded(above).raw.extends) is not None:
            above = extended
        return self._variants(above)

    def _and_below(self, folder: str, name: str) -> Iterator[str]:
        yield name
        for other in self.shipped.files.names(folder):
            document = self.shipped.files.document(self.root / "specs" / folder / f"{other}.yaml")
            if document.value.get("extends") == name:
                yield from self._and_below(folder, other)

    def _at(self, edit: Edit, where: Where) -> bool:
        return where.file == f"specs/{edit.file}" and where.line in edit.lines

    def _same(self, project: Project) -> bool:
        """Whether nothing that any command reads has changed: neither raw values nor what they become."""
        shipped = self.shipped
        return (
            project.data == shipped.data
            and all(project.scale(one) == shipped.scale(one) for one in shipped.scales())
            and all(project.resolve(*at).stages == shipped.resolve(*at).stages for at in self.contexts)
            and all(self._said(project, name) == self._said(shipped, name) for name, _ in self.contexts)
            and self._machines(project) == self.machines
        )

    def _said(self, project: Project, name: str) -> tuple[Any, ...]:
        loaded = project.loaded(name)
        return _figures(loaded.raw), {stage: _figures(one.raw) for stage, one in loaded.stages.items()}

    def _machines(self, project: Project) -> list[Any]:
        """What the files of specs/hardware say; not whether it can be read."""
        try:
            paths = [project.files.specs / "hardware" / f"{name}.yaml" for name in project.files.names("hardware")]
            documents = [project.files.document(path).value for path in paths]
        except UserError as error:
            return [str(error)]
        return [{key: value for key, value in one.items() if key != "sources"} for one in documents]


def _changed(context: Context, known: Context) -> set[str]:
    """The fields in which a check is not given the very objects that it was given of the shipped specs."""
    pairs = {field.name: (getattr(context, field.name), getattr(known, field.name)) for field in fields(Context)}
    machine = pairs.pop("hardware", (None, None))  # which is made again for every context
    differ = {"hardware"} if machine[0] != machine[1] else set()
    return differ | {name for name, (new, old) in pairs.items() if new is not old and not _same_items(new, old)}


def _same_items(new: Any, old: Any) -> bool:
    return isinstance(new, tuple) and list(map(id, new)) == list(map(id, old))


def _figures(raw: Any) -> Any:
    """A raw spec without what only says where its figures come from."""
    return raw.model_copy(update={"sources": []})
