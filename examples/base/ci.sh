#!/usr/bin/env bash
# What continuous integration runs: the specs are checked, every stage is run, nothing is left to do afterwards, and
# every stage is as its snapshots say.
set -euo pipefail
cd "$(dirname "$0")"
export OMP_NUM_THREADS=1 DVC_NO_ANALYTICS=1

stages sync --check
stages check
snakemake
left=$(snakemake -n 2>&1)
grep -q "Nothing to be done" <<< "$left" || { echo "$left" >&2; exit 1; }
stages status
if [[ ! -d tests/stages ]]; then
    echo 'no snapshots here; make and commit them: pytest --stages --stages-update --stages-reason "the first ones"' >&2
    exit 1
fi
pytest --stages
