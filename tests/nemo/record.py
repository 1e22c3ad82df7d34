"""Writes results/records/nemo.md: `python -m tests.nemo.record`, in the environment that `make nemo` makes."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.report.commit import commit
from stages.store.files import write_atomic
from tests.nemo import mutants, parity
from tests.nemo.mutants import MUTANTS
from tests.nemo.parity import CASES, Difference, Figures
from tests.unit.train import tiny

GIVEN = tiny.inputs(Path())  # of stages without parents
SHOWN = 150  # characters of a message
PACKAGES = ("torch", "megatron-core", "megatron-bridge", "transformers")


def main() -> None:
    from stages.engines.nemo import cpu

    cpu.install()
    root = Path.cwd()
    text = "\n".join([*_head(root), *_parity(), "", *_mutants(root)]) + "\n"
    write_atomic(root / "results" / "records" / "nemo.md", text.encode())


def _head(root: Path) -> Iterator[str]:
    yield "# The NeMo engine beside the torch engine"
    yield ""
    yield f"Python {platform.python_version()}, {', '.join(f'{one} {version(one)}' for one in PACKAGES)}."
    yield f"On a CPU in fp32, one thread a rank, gloo. Commit {commit(root)}, by `python -m tests.nemo.record`."
    yield "Never executed on a GPU."
    yield ""


def _parity() -> Iterator[str]:
    allowed = Figures()
    yield "## From the same weights"
    yield ""
    yield f"{parity.STEPS} steps with a batch ramp, the last one partial; the small models of tests/nemo/parity.py, two"
    yield "documents a row. Relative differences from the torch engine on one rank: loss of step 1; gradients of step 1"
    yield "(in norm, the worst tensor); losses and norms of all steps (the worst); the objective's own columns, as"
    yield "margins or balance losses (the worst step, of the column's largest value); weights afterwards (in norm)."
    yield f"Allowed: {allowed.loss:.0e}, {allowed.gradient:.0e}, {allowed.losses:.0e} for losses, norms and columns,"
    yield f"{allowed.weights:.0e}; with experts, losses also within twice what noise of 1e-7 in the torch engine's own"
    yield "gradients makes of them (worst of four draws). The gradient of Ouro's gate's bias is taken together with its"
    yield "weight's: alone it is one number left of a sum of both signs."
    yield ""
    yield "| model | layout | step-1 loss | gradients | losses | norms | columns | weights | noise makes | within |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for case in CASES:
        wanted = parity.by_torch(case.stage, GIVEN)
        noise = parity.noisy(case, GIVEN, wanted)
        for where in case.layouts:
            with TemporaryDirectory() as folder:
                far = parity.difference(parity.measured(case.stage, where, Path(folder)), wanted)
            print(case.name, where, far, flush=True)
            good = far.within(case.figures) and (not noise or far.losses <= 2 * noise)
            made = f"{noise:.1e}" if noise else ""
            yield f"| {case.name} | {where} | {_row(far)} | {made} | {'yes' if good else '**no**'} |"


def _row(far: Difference) -> str:
    return " | ".join(f"{one:.1e}" for one in (far.loss, far.gradient, far.losses, far.norms, far.columns, far.weights))


def _mutants(root: Path) -> Iterator[str]:
    yield "## Known traps of Megatron's"
    yield ""
    yield "Each is done to Megatron's side in a process of its own (tests/nemo/traps). Guards look before step 1,"
    yield "then the numbers are compared with the torch engine's as above. A tracker file that points to a damaged"
    yield f"checkpoint is a case of tests/nemo/test_resume.py. Commit {commit(root)}."
    yield ""
    yield "| trap | noticed by | what it said |"
    yield "|---|---|---|"
    for mutant in MUTANTS:
        with TemporaryDirectory() as folder:
            said = mutants.outcome(mutant, Path(folder))
        print(mutant.trap, said[:SHOWN], flush=True)
        yield f"| {mutant.trap} | {_who(said)} | {_short(said)} |"


def _who(said: str) -> str:
    if not said:
        return "**nobody**"
    if said.startswith(mutants.NUMBERS):
        return "parity"
    kind = said.partition(":")[0].rpartition(".")[2]
    return {
        "GuardError": "guard", "BuiltOtherwiseError": "fields read back", "AssertionError": "check in the engine",
        "ValueError": "check in the engine",
    }.get(kind, kind)  # fmt: skip


def _short(said: str) -> str:
    message = said.removeprefix(mutants.NUMBERS) if said.startswith(mutants.NUMBERS) else said.partition(": ")[2]
    cut = message if len(message) <= SHOWN else message[:SHOWN].rpartition(" ")[0] + " ..."
    return cut.replace("|", "\\|")


if __name__ == "__main__":
    main()
