"""`make device-data`: the corpora of the pipeline that is run on a GPU, prepared where they can be carried from.

They are made from packages at exact versions (docs/data.md), which a machine with a GPU need not have.
"""

from __future__ import annotations

import shutil
import sys

from benchmarks.device.pipelines import PIPELINE, SCALE
from benchmarks.device.training import ROOT
from stages.commands.data import prepare
from stages.data.spec import TOKENIZER
from stages.errors import UserError
from stages.spec.project import Project
from stages.store.layout import Layout


def main() -> int:
    layout, place = Layout(ROOT, SCALE), ROOT / ".device" / "data"
    stages = Project.load(ROOT).resolve(PIPELINE, SCALE).stages.values()
    read = {source.corpus for stage in stages for phase in stage.phases for source in phase.sources}
    try:
        for name in (TOKENIZER, *sorted(read)):
            prepare(name, SCALE)
            shutil.copytree(layout.corpus(name), place / name, dirs_exist_ok=True)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    print(f"{place}: {len(read)} corpora, {size / 2**20:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
