"""Where everything a run writes lies under results/. Nothing else in the package spells these paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths of one scale. `root` is the project's folder; a `ref` is "pipeline/stage"; a `key` is 32 hex digits."""

    root: Path
    scale: str

    @property
    def results(self) -> Path:
        """Live results of all scales."""
        return self.root / "results"

    @property
    def data(self) -> Path:
        """Prepared corpora and the tokenizer of this scale, one folder each."""
        return self.results / self.scale / "data"

    @property
    def markers(self) -> Path:
        """Files that exist exactly when a stage is done under the key in their name."""
        return self.results / ".markers" / self.scale

    def stage(self, ref: str) -> Path:
        """The finished result of a stage."""
        pipeline, stage = split(ref)
        return self.results / self.scale / pipeline / stage

    def manifest(self, ref: str) -> Path:
        """The manifest of a stage's finished result."""
        return self.stage(ref) / "manifest.json"

    def marker(self, ref: str, key: str) -> Path:
        """The marker of a stage done under `key`."""
        pipeline, stage = split(ref)
        return self.markers / pipeline / f"{stage}.{key}"

    def data_marker(self, name: str, key: str) -> Path:
        """The marker of a corpus (or the tokenizer) prepared under `key`."""
        return self.markers / "data" / f"{name}.{key}"

    def corpus(self, name: str) -> Path:
        """A prepared corpus, or the tokenizer."""
        return self.data / name

    def preparation(self, name: str) -> Path:
        """Where the lease of a corpus's preparation lies."""
        return self.data / ".preparing" / name

    def run(self, key: str) -> Path:
        """Everything written under a key (a stage's or a phase's) that is not in place."""
        return self.results / ".runs" / key

    def log(self, key: str) -> Path:
        """What the runs under `key` printed, in order."""
        return self.run(key) / "log.txt"

    def phase_end(self, phase_key: str) -> Path:
        """The checkpoint at the end of a phase that is not the stage's last: shared by stages that begin alike."""
        return self.run(phase_key) / "phase"

    def command(self, ref: str) -> str:
        """What a user types to run a stage at this scale."""
        return f"stages run {ref} --scale {self.scale}"

    def snakemake(self, *words: str) -> str:
        """What a user types to run targets and all before them; a project of specs alone gets its Snakefile first."""
        typed = " ".join(("snakemake", *words, "--config", f"scale={self.scale}"))
        return typed if (self.root / "Snakefile").is_file() else f"stages upgrade && {typed}"


def split(ref: str) -> tuple[str, str]:
    """Split "pipeline/stage"; raises ValueError on anything else."""
    pipeline, slash, stage = ref.partition("/")
    if not (pipeline and slash and stage) or "/" in stage:
        raise ValueError(f"not a pipeline/stage: {ref!r}")
    return pipeline, stage
