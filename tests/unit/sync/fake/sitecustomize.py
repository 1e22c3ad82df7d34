"""Put on PYTHONPATH by the tests of rules and DVC: stages and corpora finish at once, nothing is trained."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.data.corpus.prepared import DataManifest
    from stages.engines import Inputs
    from stages.spec.resolved import Stage
    from stages.store.seal import Shard


def _train(stage: Stage, inputs: Inputs) -> None:
    from stages.store import attempts, finish, manifest

    ref = f"{stage.pipeline}/{stage.name}"
    with attempts.start(inputs.layout, ref, inputs.key, inputs.parents) as attempt:
        if ref == os.environ.get("FAIL_STAGE"):
            raise ValueError("as the test asked")
        (attempt.result / "model").mkdir()
        (attempt.result / "model" / "model.safetensors").write_text(f"{inputs.key} {dict(inputs.parents)}")
        (attempt.result / "eval.json").write_text('{"before": {"loss": 2.0}, "after": {"loss": 1.0}}')
        (attempt.result / "metrics.csv").write_text("tokens,loss,lr\n1,2.0,0.1\n2,1.0,0.1\n")
        shards = manifest.shards(attempt.result, ["model"])
        record = manifest.Manifest(
            schema_version=1, stage=ref, key=inputs.key, tier="bit-exact", stand_in=False,
            parents=dict(inputs.parents), points_to=None, counters={}, shards=shards,
        )  # fmt: skip
        finish.finish(attempt, record)
    with Path(os.environ["TRAINED"]).open("a") as log:
        log.write(ref + "\n")


def _prepare(root: Path, name: str, out: Path, accept: bool = False, processes: int = 1) -> DataManifest:
    from stages.data import spec
    from stages.data.corpus import prepared

    declared = spec.load_tokenizer(root) if name == "tokenizer" else spec.load(root, name)

    def make(shards: list[Shard]) -> DataManifest:
        return prepared.DataManifest(
            schema_version=1, corpus=name, kind=getattr(declared, "kind", "tokenizer"), digest=declared.digest,
            tokenizer=spec.load_tokenizer(root).digest,
            size=1, documents=1, longest=1, heldout=0, cell=0, patch=0, channels=0, shards=shards,
        )  # fmt: skip

    return prepared.write_folder(out, {"tokens.bin": name.encode()}, make)


if "TRAINED" in os.environ and "-m" in sys.argv:
    import stages.data.loading.rows
    import stages.data.preparing.prepare
    import stages.engines

    stages.data.loading.rows.refuse_short = lambda stage, root, data_root: None  # these corpora have no rows to count
    stages.engines.run = _train
    stages.data.preparing.prepare.prepare = _prepare
