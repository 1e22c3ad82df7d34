"""What keeps a stage from being started: an unwaived finding on it, above it, or on its whole pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from stages.check.findings import Finding, unwaived
from stages.check.run import outside_pipelines, priced_on, run_pipeline
from stages.contract.engines import refusal
from stages.errors import UserError, page
from stages.spec.graph import reached
from stages.spec.project import Project
from stages.spec.resolved import Stage

SHARED = ("data", "scales")  # directories of specs/ that every stage reads


class FindingsError(UserError):
    """A stage may not be started as its specs are."""

    repeats = True

    def __init__(self, ref: str, scale: str, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        count = len(self.findings)
        named = f"{count} finding{'s' * (count != 1)} on it or above it"
        lines = [f"{ref} is not started: `stages check --scale {scale}` has {named}."]
        lines += [f"  {finding}" for finding in self.findings]
        lines.append(f"Correct the specs, or waive what need not be so, with its reason ({page('invariants')}).")
        super().__init__("\n".join(lines))


class Gate:
    """The findings at one scale. A pipeline is checked when one of its stages is first needed, and only then."""

    def __init__(self, project: Project, scale: str, stages: Mapping[str, Stage]) -> None:
        self._project, self._scale, self._stages = project, scale, stages
        self._found: dict[str, list[Finding]] = {}

    def findings(self, ref: str) -> list[Finding]:
        """Unwaived findings on a stage, its ancestors and the whole pipelines that these live in, and on files next to
        their specs that nothing reads.

        Raises InvalidSpecs where the specs cannot be resolved.
        """
        lineage = reached([ref], lambda one: self._stages[one].needed)
        pipelines = dict.fromkeys(one.partition("/")[0] for one in lineage)
        found = [finding for name in pipelines for finding in self._of(name)]
        others = [one for one in self._beside if one.stage.partition("/")[0] in {*pipelines, *SHARED}]
        return [one for one in found if one.stage in lineage or one.stage in pipelines] + others

    def refuse(self, ref: str) -> None:
        """Raise FindingsError if the stage has a finding that is not waived, UserError if no engine trains it."""
        found = self.findings(ref)
        if found:
            raise FindingsError(ref, self._scale, found)
        why = refusal(self._stages[ref], priced_on(self._project, self._scale))
        if why is not None:
            raise UserError(
                f"{ref} is not started: found {why}. At scale {self._scale} it is planned and checked, and not run "
                "here: take another scale."
            )

    @cached_property
    def _beside(self) -> list[Finding]:
        return outside_pipelines(self._project, self._scale)

    def _of(self, pipeline: str) -> list[Finding]:
        if pipeline not in self._found:
            self._found[pipeline] = unwaived(run_pipeline(self._project, pipeline, self._scale))
        return self._found[pipeline]
