"""The graph as Snakemake and DVC see it: rules and dvc.yaml written from the specs, markers kept true."""
