"""How ranks meet, and how they part: none waits in silence for one that does not come."""

from __future__ import annotations

import re
import sys

import pytest

from stages.engines import local
from stages.engines.launch import launch
from stages.errors import UserError


@pytest.mark.parametrize("fails", [False, True])
def test_no_rank_ends_nccl_before_the_last_has_come_to_its_end(fails: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """NCCL's end waits for all ranks and does not hear that one has failed."""
    script = (
        "import sys, time\nimport torch.distributed as dist\nfrom stages.errors import UserError\n"
        "from stages.train import meeting, ranks\n"
        "meeting.meet = lambda _: dist.init_process_group('gloo')\n"
        "end = dist.destroy_process_group\n"
        "dist.destroy_process_group = lambda: (print('ends NCCL at', time.monotonic(), flush=True), end())\n"
        "try:\n    with ranks.joined(2, backend=ranks.NCCL) as own:\n        own.barrier()\n        if own.first:\n"
        "            time.sleep(0.5)\n            print('evaluated at', time.monotonic(), flush=True)\n"
        f"            if {fails}:\n                raise UserError('disk full')\n"
        "except UserError as error:\n    print(error, flush=True)\n    sys.exit(error.exit_code)\n"
    )
    if fails:
        with pytest.raises(UserError, match=r"p/s: rank 0 of 2 failed \(exit code 1\): disk full"):
            launch([sys.executable, "-c", script], 2, "p/s")
    else:
        launch([sys.executable, "-c", script], 2, "p/s")
    said = capfd.readouterr().err
    assert ("[rank 1] another rank has ended" in said) == fails
    (evaluated,) = (float(at) for at in re.findall(r"evaluated at (\S+)", said))
    ends = [float(at) for at in re.findall(r"ends NCCL at (\S+)", said)]
    assert ends == [] if fails else len(ends) == 2 and min(ends) > evaluated


def test_ranks_that_do_not_meet_say_that_they_wait_and_end(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch waits for two days, as for anything, in silence."""
    script = (
        "import os, time\nfrom stages.train import meeting, ranks\nmeeting.LONG, meeting.TOO_LONG = 0.1, 0.3\n"
        "if os.environ['RANK'] == '1':\n    with ranks.joined(2): pass\n"
        "else: time.sleep(600)"
    )
    said = r"has waited 0\.3 seconds at 127\.0\.0\.1:\d+ for all 2 ranks\. Where one did not start, its log says why"
    monkeypatch.setattr(local, "GRACE", 0.1)  # for the one that sleeps
    with pytest.raises(UserError, match=rf"p/s: rank 1 of 2 failed \(exit code 1\): {said}"):
        launch([sys.executable, "-c", script], 2, "p/s")
    assert "[rank 1] has waited 0.1 seconds" in capfd.readouterr().err


def test_ranks_that_meet_in_time_are_not_ended() -> None:
    script = (
        "import os, time\nfrom stages.train import meeting, ranks\nmeeting.LONG, meeting.TOO_LONG = 0.1, 30\n"
        "time.sleep(0.5 * int(os.environ['RANK']))\n"
        "with ranks.joined(2) as own:\n    meeting.TOO_LONG = 0\n    time.sleep(0.2)\n    own.barrier()"
    )
    launch([sys.executable, "-c", script], 2, "p/s")
