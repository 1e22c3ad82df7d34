"""Preparing a user's JSONL, against datasets and Megatron's preprocess_data: `python -m benchmarks.prepare --help`.

Same file, same tokenizer.json, same number of processes, each of one thread, in turn in one run. datasets' `map` cuts
texts into ids in batches of 1,000 by `encode_batch_fast`, which is the fastest that the tokenizers library has, and
writes its Arrow file; the time of reading the JSON into a dataset is given beside it. Ours is the whole preparation:
digest of the input, JSON, checks of each row, ids, order by hash, what is held out, `tokens.bin` and `tokens.idx`,
flushed, with their digests. datasets is an extra: `pip install 'stages[benchmarks]'`.

preprocess_data is run where `--megatron PYTHON CHECKOUT` names a Python with megatron-core, and Megatron-LM's files.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import rows
from benchmarks.timing import Comparison, compare, show
from stages.data.preparing import prepare
from stages.errors import UserError
from stages.store import trees

REPETITIONS, BATCH = 5, 1000
WORDS = {"pages": 300.0, "sentences": 25.0}  # mean lengths of documents


class Theirs:
    """datasets: a dataset of the texts, and its `map` into ids."""

    def __init__(self, root: Path, file: Path, processes: int) -> None:
        """Raises UserError where datasets is not installed."""
        try:
            import datasets
        except ImportError:
            raise UserError("datasets is not installed: `pip install 'stages[benchmarks]'`") from None
        from tokenizers import Tokenizer

        datasets.disable_progress_bars()
        self.cache, self.file, self.processes, self.datasets = root / "cache", file, processes, datasets
        self.tokenizer = Tokenizer.from_file(str(root / "tokenizers" / rows.CORPUS / "tokenizer.json"))
        self.texts = self.read()

    def read(self) -> Any:
        """Read the file into a dataset that is kept in an Arrow file."""
        cache = str(self.cache / str(time.monotonic_ns()))
        return self.datasets.load_dataset("json", data_files=str(self.file), split="train", cache_dir=cache)

    def map(self) -> None:
        """Cut the texts into ids, into an Arrow file of their own."""
        many = self.processes if self.processes > 1 else None
        now = str(time.monotonic_ns())
        made = self.texts.map(
            self._ids, batched=True, batch_size=BATCH, num_proc=many, remove_columns=["text"],
            load_from_cache_file=False, cache_file_name=str(self.cache / f"{now}.arrow"), new_fingerprint=now,
        )  # fmt: skip
        assert len(made)
        for left in self.cache.glob("*.arrow"):
            left.unlink()

    def _ids(self, batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        encodings = self.tokenizer.encode_batch_fast(batch["text"], add_special_tokens=False)
        return {"ids": [one.ids for one in encodings]}


def ours(root: Path, processes: int) -> None:
    """The whole preparation."""
    out = root / "prepared" / rows.CORPUS
    trees.remove_tree(out)
    prepare.prepare(root, rows.CORPUS, out, accept=True, processes=processes)


def megatron(root: Path, file: Path, processes: int, python: str, checkout: Path) -> None:
    """tools/preprocess_data.py of a checkout of Megatron-LM, with an end of document as we have it."""
    path = os.pathsep.join([str(checkout), os.environ.get("PYTHONPATH", "")])
    command = [
        python, str(checkout / "tools" / "preprocess_data.py"), "--input", str(file), "--append-eod",
        "--tokenizer-type", "HuggingFaceTokenizer", "--tokenizer-model", str(root / "tokenizers" / rows.CORPUS),
        "--output-prefix", str(root / "megatron"), "--workers", str(processes), "--log-interval", "1000000",
    ]  # fmt: skip
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"preprocess_data.py ended with {done.returncode}:\n{done.stderr[-2000:]}")


def used() -> float:
    """Processor seconds of this process and of all that it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def run(megabytes: int, processes: int, repetitions: int, clock: Callable[[], float]) -> list[Comparison]:
    """Both lengths of documents, with `map` alone and with reading the JSON too."""
    found = []
    for name, words in WORDS.items():
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "project"
            file = rows.project(root, megabytes * 10**6, words)
            theirs, each = Theirs(root, file, processes), f"{megabytes} MB of JSONL, {name}, {processes} process(es)"

            def mine(root: Path = root) -> None:
                ours(root, processes)

            def read_and_map(theirs: Theirs = theirs) -> None:
                theirs.texts = theirs.read()
                theirs.map()

            ways = {"map alone": theirs.map, "JSON and map": read_and_map}
            found += [
                compare(f"preparation / datasets, {way}", each, mine, plain, repetitions, clock=clock)
                for way, plain in ways.items()
            ]
    return found


def run_megatron(
    megabytes: int, processes: int, repetitions: int, clock: Callable[[], float], python: str, checkout: Path
) -> list[Comparison]:
    """Against preprocess_data, each a command of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        file = rows.project(root, megabytes * 10**6, WORDS["pages"])
        command = [sys.executable, "-c", _OURS, str(root), str(processes)]
        return [
            compare(
                "preparation / Megatron's preprocess_data", f"{megabytes} MB of JSONL, pages, {processes} process(es)",
                lambda: subprocess.run(command, check=True),
                lambda: megatron(root, file, processes, python, checkout), repetitions, clock=clock,
            )
        ]  # fmt: skip


_OURS = "import sys, pathlib; from benchmarks.prepare import ours; ours(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"


def main() -> None:
    parser = argparse.ArgumentParser(description="Tokens per second of a preparation beside those of others.")
    parser.add_argument("--megabytes", type=int, default=60)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--cpu", action="store_true", help="processor time, where the machine does other work too")
    parser.add_argument("--megatron", nargs=2, metavar=("PYTHON", "CHECKOUT"))
    asked = parser.parse_args()
    clock = used if asked.cpu else time.perf_counter
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        for processes in asked.processes:
            if asked.megatron:
                python, checkout = asked.megatron
                show(run_megatron(asked.megabytes, processes, asked.repetitions, clock, python, Path(checkout)))
            else:
                show(run(asked.megabytes, processes, asked.repetitions, clock))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
