"""The command `stages`, and `python -m stages`: what it imports is imported where Ctrl-C has no traceback."""

from __future__ import annotations

import sys

INTERRUPTED = 130  # the exit code of SIGINT, as for Ctrl-C later on


def main() -> None:
    """Load the command and run it."""
    try:
        from stages.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
