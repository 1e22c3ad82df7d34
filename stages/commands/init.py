"""`stages init`: make a project, and say what to type in it."""

from __future__ import annotations

import shlex
from pathlib import Path

from stages.errors import UsageError
from stages.printable import printable
from stages.scaffold import contents, init
from stages.spec.validate import hint


def create(folder: Path, example: str) -> None:
    """Make the project; raises UsageError for an example that there is not, and as `init.create` does."""
    known = contents.examples()
    if example not in known:
        raise UsageError(f"--example: found {example!r}; allowed: {', '.join(known)}. {hint(example, known)}")
    made = init.create(folder, example)
    print(printable(f"{folder}: a project with the pipeline {example}. README.md says what is in it. Next:"))
    print(printable(f"  cd {shlex.quote(str(folder) if not str(folder).startswith('-') else f'./{folder}')}"))
    for line in _git(made):
        print(printable(f"  {line}"))
    if example in contents.PUBLISHED:
        print("  pip install 'stages[mini]'      # the packages that its corpora are made of at scale mini")
    print("  stages check      # what is wrong with the specs, before anything is run")
    print("  snakemake         # run every stage that is not done")


def _git(made: Path) -> list[str]:
    commit = 'git add --all && git commit --message "A new project"'
    above = init.inside(made, ".git")
    if above is not None:
        return [f"{commit}      # in the repository {above}"]
    if (made / ".git").exists():
        return [commit]
    return [f"git init && {commit}      # once git is installed: DVC and `stages diff` need it"]
