# The three published pipelines. Bare `snakemake` runs them at scale mini; `--config scale=...` chooses another.
# Rules are written from specs/ by `stages sync`; what is to be run is decided by keys (docs/orchestration.md).
import sys
from pathlib import Path

from snakemake.settings.enums import Quietness

from stages.sync import workflow as flows

ROOT = Path(workflow.basedir)
# A job on a cluster has no setting of its own: None.
QUIET = Quietness.ALL in (workflow.output_settings.quiet or ())
FLOW = flows.or_exit(
    lambda: flows.open_main(ROOT, config, QUIET) if workflow.is_main_process else flows.open_job(ROOT, config)
)


rule all:
    input:
        [FLOW.marker(ref) for ref in FLOW.published],
        [FLOW.data_marker(name) for name in FLOW.published_corpora],


rule readings:
    input:
        [FLOW.marker(ref) for ref in FLOW.readings],


include: "rules/common.smk"


for path in sorted(Path(ROOT, "rules").glob("*.smk")):
    if path.name != "common.smk":

        include: path


def report(word):
    """Pictures in any case; the tables only where somebody reads along. What trained well stays well if they fail."""
    pictures = f"{sys.executable} -m stages pictures --scale {FLOW.scale} > /dev/null"
    return f"{pictures} || true" if QUIET else f"{pictures}; {sys.executable} -m stages {word} --scale {FLOW.scale} || true"


onsuccess:
    shell("set +e; " + report("table"))


onerror:
    shell(f"{sys.executable} -m stages status --failed --scale {FLOW.scale} || true")
