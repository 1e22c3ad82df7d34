"""`python -m stages`: the command, without needing it on PATH."""

from stages.cli import main

main()
