"""What a notice says of every pipeline of a project."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stages.spec.loader import LoadedPipeline
from stages.spec.project import Project


def of_all(project: Project, tell: Callable[[LoadedPipeline], Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(notice for one in project.loadable for notice in tell(one)))
