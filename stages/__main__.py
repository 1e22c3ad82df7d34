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
    except ModuleNotFoundError as error:
        if "stages.cli" in sys.modules or (error.name or "").partition(".")[0] == "stages":
            raise
        print(
            f"stages: {sys.executable} has no package {error.name}. Activate the environment that has stages: "
            "in a checkout `make .venv/.ready`, then `source .venv/bin/activate`; elsewhere "
            "`pip install /path/to/stages`.",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
