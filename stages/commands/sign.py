"""`stages sign` and `stages verify`: signed statements about finished stages, checked; steps computed again."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stages.commands.chosen import choose
from stages.commands.find_project import find_root
from stages.errors import UsageError, UserError
from stages.printable import printable
from stages.store import manifest
from stages.store.layout import Layout

if TYPE_CHECKING:
    from securesystemslib.signer import Key, Signer

LENGTH = 5  # steps of an interval that is computed again
PARTS = 2  # of a result's path below results/<scale>: pipeline and stage


def sign(ref: str, scale: str, key: Path) -> None:
    """Sign a finished stage. Raises UserError where it is not whole, or the key cannot be read."""
    chosen = choose(ref, scale)
    ref, layout = chosen.ref, chosen.layout
    signer = _signer(key)
    from stages.forensics import signed

    if not layout.manifest(ref).is_file():
        raise UsageError(f"{ref}: no finished result at scale {scale}. `stages status` says what there is.")
    print(f"{ref}: signed, {signed.sign(layout, ref, signer)}")


def verify(folder: Path, key: Path, intervals: int, releases: Path | None = None) -> int:
    """Print what is not as it was signed, then replay random intervals; exit code 1 where something is wrong.

    Of a stage without steps all that it hands on is made again.
    """
    public = _public(key)
    from stages.forensics import signed

    place = folder.resolve()
    if len(place.parts) <= PARTS + 1 or not ((place / manifest.NAME).is_file() or signed.envelope_of(place).is_file()):
        raise UsageError(f"found {folder}; allowed: the directory of a finished stage, results/SCALE/PIPELINE/STAGE.")
    found = list(signed.problems(place, public))
    for problem in found:
        print(printable(problem))
    if found:
        return 1
    print(f"{folder}: every file is as it was signed, and so is every stage that it descends from")
    if not intervals:
        return 0
    ref, scale = "/".join(place.parts[-PARTS:]), place.parts[-PARTS - 1]
    if Layout(find_root(), scale).stage(ref).resolve() != place:
        raise UsageError(f"--replay: found {folder}, which is not in place in this project; allowed: a result that is.")
    return max(_replayed(ref, scale, intervals, releases), default=0)


def _replayed(ref: str, scale: str, intervals: int, releases: Path | None) -> Iterator[int]:
    """Exit codes of replays of random intervals; what an earlier one has computed is not computed again."""
    from stages.commands.replay import computed, inputs, lines, print_remade

    found = choose(ref, scale)
    if not found.stage.phases:
        yield print_remade(found, releases, as_json=False)
        return
    stage, given, known = inputs(found, releases)
    draw, steps = random.Random(secrets.randbits(64)), len(known.rows)
    count = min(intervals, steps)  # more than all of them say nothing more
    starts = sorted((draw.randint(1, max(1, steps - LENGTH + 1)) for _ in range(count)), reverse=True)
    print(f"replay of steps {', '.join(f'{one}..{min(one + LENGTH - 1, steps)}' for one in reversed(starts))}")
    covered = range(0)
    for first in starts:
        last = min(first + LENGTH - 1, steps)
        if first in covered and last in covered:
            continue
        again, repeats = computed(stage, given, known, first, last)
        for line in lines(ref, known, again, repeats):
            print(printable(line))
        covered = range(again.first, again.last + 1)
        yield int(not again.equal)


def _signer(path: Path) -> Signer:
    _refuse_without_library()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    content = _content(path)
    try:
        return CryptoSigner(load_pem_private_key(content, None))
    except (ValueError, TypeError) as error:
        raise UsageError(f"--key: {path} is not a private key in PEM without a password ({_first(error)}).") from None


def _public(path: Path) -> Key:
    _refuse_without_library()
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    content = _content(path)
    try:
        return SSlibKey.from_crypto(load_pem_public_key(content))
    except (ValueError, TypeError) as error:
        raise UsageError(f"--key: {path} is not a public key in PEM ({_first(error)}).") from None


def _first(error: Exception) -> str:
    """The first sentence of a library's error."""
    return str(error).partition(". ")[0].rstrip(".")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"--key: {path} cannot be read: {error.strerror}.") from None


def _refuse_without_library() -> None:
    from importlib.util import find_spec

    if find_spec("securesystemslib") is None or find_spec("cryptography") is None:
        raise UserError("signatures need the extra `sign`: pip install 'stages[sign]'.")
