# The three published pipelines. Bare `snakemake` runs them at scale mini, or the only one there is;
# `--config scale=...` chooses another.
# Rules are written from specs/ by `stages sync`; what is to be run is decided by keys (docs/orchestration.md).
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.enums import Quietness

from stages.commands.collection import collect_seldom, uncollected
from stages.commands.interrupted import say_interrupts

say_interrupts()
with uncollected():
    from stages.sync import chatter, pages, targets
    from stages.sync import workflow as flows
    from stages.sync.rules import names

    ROOT = flows.or_exit(lambda: flows.project(workflow.basedir))
    # A job on a cluster has no setting of its own: None.
    QUIET = Quietness.ALL in (workflow.output_settings.quiet or ())
    if Quietness.PROGRESS in (workflow.output_settings.quiet or ()):
        chatter.leave_out(logger)
    DRY = workflow.output_settings.dryrun
    FLOW = flows.or_exit(
        lambda: flows.open_main(ROOT, config, QUIET, DRY) if workflow.is_main_process else flows.open_job(ROOT, config)
    )
collect_seldom()


def stages(*words, **settings):
    """One command of the project, without a shell between. What trained well stays well if it fails."""
    subprocess.run([sys.executable, "-m", "stages", *words, "--scale", FLOW.scale], **settings)


REPORTING = workflow.is_main_process and pages.asked(sys.argv)
if REPORTING:
    stages("report", "--out", str(pages.folder(ROOT, FLOW.scale)), stdout=subprocess.DEVNULL)


def page(*pipelines):
    """Pages for `snakemake --report`; no input of a rule otherwise."""
    found = pages.there(ROOT, FLOW.scale, pipelines) if REPORTING else {}
    return [report(path, category="Pipelines", labels={"pipeline": name}) for name, path in found.items()]


rule all:
    input:
        [FLOW.marker(ref) for ref in FLOW.published],
        [FLOW.data_marker(name) for name in FLOW.published_corpora],
        page(*FLOW.pipelines),


rule variants:
    input:
        [FLOW.marker(ref) for ref in FLOW.variants],


include: "rules/common.smk"


for path in sorted(Path(ROOT, "rules").glob("*.smk")):
    if path.name != "common.smk" and path.stem not in FLOW.absent:

        include: path


# Asked for by name, a pipeline that is not at this scale says where it is, and one that cannot be read why; so do stages.
for absent in FLOW.absent:
    for rule_name in names(ROOT, absent):

        rule:
            name:
                rule_name
            input:
                FLOW.elsewhere(absent),


if workflow.is_main_process:
    for line in targets.mistaken(sys.argv[1:], [one.name for one in workflow.rules], FLOW.keys):
        print(f"stages: {line}", file=sys.stderr)


def rules_asked_for():
    """The rules of this call's graph that it may run."""
    allowed = workflow.dag.rules_allowed_for_needrun
    return {job.rule.name for job in workflow.dag.jobs if not allowed or job.rule.name in allowed}


# Before anything is submitted to Slurm, of all that will be.
onstart:
    if workflow.executor_plugin.name == flows.EXECUTOR:
        FLOW.before_jobs({job.rule.name for job in workflow.dag.needrun_jobs()}, workflow.executor_plugin.executor)


# Pictures in any case; the table, of what was asked for, only where somebody reads along.
onsuccess:
    asked = rules_asked_for()
    stages("pictures", stdout=subprocess.DEVNULL)
    if not QUIET:
        stages("table", *flows.asked_for(FLOW, asked))
    left = flows.unfinished(FLOW, asked)
    if left:
        raise WorkflowError("Not done, although every job that was run succeeded:", *left)


onerror:
    stages("status", "--failed")
