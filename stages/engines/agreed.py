"""Whether all ranks of a stage were given the same stage, and compute it by the same code."""

from __future__ import annotations

import socket

from stages.engines import place
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import Engine
from stages.store import fingerprint
from stages.store.digest import digest_bytes
from stages.train.ranks import Ranks

FOLDER = "Is its folder the same file system everywhere, and was it edited while ranks started?"


def check(stage: Stage, ranks: Ranks) -> None:
    """Raise UserError on all ranks where one has another spec of the stage, or other code, than the first. Of other
    rates, seeds or layouts each would compute its own, or wait in a sum that the others do not make. All ranks call it.

    Environments may differ: the first rank prints what does, since the result then promises less.
    """
    if ranks.size == 1:
        return
    own = [digest_bytes(stage.model_dump_json().encode()), fingerprint.code(), socket.gethostname()]
    (spec, code, _), *others = ranks.values(own)
    for rank, (other_spec, other_code, host) in enumerate(others, 1):
        if other_spec != spec:
            raise UserError(
                f"{stage.ref}: rank {rank} on {host} has another spec of this stage than the first rank; allowed: one "
                f"project, as it is now, on all nodes. {FOLDER}"
            )
        if other_code != code:
            raise UserError(
                f"{stage.ref}: rank {rank} on {host} runs other code of stages ({other_code}) than the first rank "
                f"({code}); allowed: one version on all nodes. Install the same one there. {FOLDER}"
            )
    _say_environments(stage.ref, stage.execution.engine, ranks)


def _say_environments(ref: str, engine: Engine, ranks: Ranks) -> None:
    found = place.environment(ranks.device, engine)
    first, *others = ranks.values({name: found.get(name) for name in (*fingerprint.IDENTITY, "device")})
    for rank, other in enumerate(others, 1) if ranks.first else ():
        for name in first:
            if other[name] != first[name]:
                print(f"{ref}: rank {rank} computes with {name} {other[name]}, the first rank with {first[name]}")
