"""What Slurm says of a pipeline's jobs before the first one is submitted.

A job is submitted when those that it needs have ended, which may be days later. A partition that is misspelt, or nodes
that no partition has, would show only then, and some of it never: such a job waits in the queue for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from stages.cluster import resources, slurm
from stages.cluster.resources import Request
from stages.cluster.site import Site
from stages.errors import UserError
from stages.printable import first_few, printable

SHOWN = 3
# What sbatch refuses whenever it is asked. Anything else may pass: nodes come back, jobs of others end.
FOR_GOOD = re.compile(r"invalid|unrecognized option", re.IGNORECASE)
SILENT = re.compile(r"unable to contact|fatal:", re.IGNORECASE)  # no controller, or no configuration of Slurm


def check(requests: Mapping[str, Request], site: Site) -> list[str]:
    """Lines on jobs that Slurm would have wait, by what their stages or corpora are called.

    Raises UserError where it would refuse one, SlurmError where it gives no answer.
    """
    alike: dict[Request, list[str]] = {}
    for name, request in requests.items():
        alike.setdefault(request, []).append(name)
    limits = dict(_limits()) if alike else {}
    refused: dict[str, list[str]] = {}
    waiting = []
    for request, names in alike.items():
        who = first_few(names, SHOWN)
        options = [f"--{name}={value}" for name, value in resources.options(request, site).items()]
        words = _refusal([*options, *site.extra])
        if FOR_GOOD.search(words):
            refused.setdefault(words, []).extend(names)
        elif words:
            waiting.append(
                f"{who}: as things are, Slurm could not start such a job ({words}); asked for are {request.words}. It "
                "may wait for ever: `sinfo -N -l` lists the nodes"
            )
        elif (most := _longest(site.partition_of(request.gpus), limits)) is not None and request.minutes > most:
            waiting.append(
                f"{who}: asks for {request.minutes} min, its partition allows {most:g} min: it may wait for ever. Set "
                f"`max_time: {most:g} min` in slurm/site.yaml: a stage then goes on in the next turn of its job"
            )
    if refused:
        found = "; ".join(f"those of {first_few(names, SHOWN)}: {words}" for words, names in refused.items())
        raise UserError(
            f"Slurm would refuse jobs: {printable(found)}. Nothing was submitted. Correct slurm/site.yaml, or how a "
            "stage is executed; `sinfo` lists partitions and their nodes, `stages emit` a stage's options."
        )
    return [printable(line) for line in waiting]


def _refusal(options: Sequence[str]) -> str:
    """Why Slurm would not take, or could not start, a job with these options of sbatch; "" where there is no reason.

    Raises SlurmError where nothing could be submitted.
    """
    try:
        slurm.once(["sbatch", "--test-only", *options, "--wrap=true"])
    except slurm.RefusedError as error:
        if SILENT.search(error.words):
            raise
        lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in error.words.splitlines()]
        return "; ".join(line for line in lines if not line.startswith("Try "))
    return ""


def _limits() -> Iterator[tuple[str, float | None]]:
    """The time limit of each partition in minutes, None for none; of Slurm's own choice too, under "*"."""
    lines = ""
    with suppress(slurm.SlurmError):  # sbatch says what is wrong
        lines = slurm.once(["sinfo", "--noheader", "--format=%P|%l"])
    for line in lines.splitlines():
        name, _, limit = line.partition("|")
        seconds = slurm.seconds(limit)
        minutes = None if seconds is None else seconds / 60
        yield name.removesuffix("*"), minutes
        if name.endswith("*"):
            yield "*", minutes


def _longest(partition: str | None, limits: Mapping[str, float | None]) -> float | None:
    """What the most generous of several partitions allows; None for no limit, or where it is not known."""
    found = [limits.get(name) for name in (partition or "*").split(",")]
    known = [one for one in found if one is not None]
    return max(known) if len(known) == len(found) else None
