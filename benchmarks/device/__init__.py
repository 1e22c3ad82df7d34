"""What `make device` runs on a machine with a GPU: the tests of tests/cuda, then the benchmarks, into one record.

Each section of `sections.py` is a process of its own with a time limit of its own. A section that fails, or takes too
long, is a failed row of the record, and the next one begins. The record is written again after every section, so that
a machine that is taken away leaves what it measured.
"""
