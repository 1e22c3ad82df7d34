"""A real Slurm of two nodes on this machine, in Linux namespaces; by hand: `python -m tests.slurm.cluster`.

One process holds a mount, a host name and a process namespace. Inside, /etc/slurm and /etc/hosts are our own folders
(Snakemake's plugin strips SLURM_CONF, so the default place must work), and munged, slurmctld and two slurmd's listen on
free loopback ports. Each node has a host name and a process namespace of its own: killing its first process is a power
cut of that node. Nothing outside is touched, clusters can run side by side, and ending the first process ends them all.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.slurm import daemons
from tests.slurm.daemons import ACCOUNT
from tests.slurm.spaces import NAMESPACES, all_of, child, environment, inside, path, status
from tests.waiting import PATIENCE, until

__all__ = ["ACCOUNT", "Cluster", "Node", "environment", "inside", "missing", "start"]

NODES = ("n1", "n2")
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "unshare", "nsenter", "setpriv")
ACCOUNTING = ("mariadbd", "mariadb-install-db", "slurmdbd", "sacctmgr")
PACKAGES = "slurm-wlm munge slurmdbd mariadb-server"
KILL_WAIT = 10  # seconds: several times what ranks need for a checkpoint


def missing(accounting: bool = False) -> str | None:
    """Why no cluster can be started here, in words; None if one can."""
    if os.geteuid() != 0:
        return "a test cluster needs root (namespaces, munged)"
    absent = [
        name for name in (*NEEDED, *(ACCOUNTING if accounting else ())) if shutil.which(name, path=path()) is None
    ]
    if absent:
        return f"no {', '.join(absent)} here; on Debian: apt-get install --no-install-recommends {PACKAGES}"
    tried = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, text=True)
    return f"namespaces are not allowed here: {tried.stderr.strip()}" if tried.returncode else None


class Node:
    """One node. Its processes are those of its own process namespace."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.name = name
        self._cluster = cluster
        self._init: psutil.Process | None = None

    def start(self) -> None:
        """Switch the node on."""
        # Bash reaps what is left to the first process of a namespace. It ends, and the node with it, when slurmd does.
        script = f"hostname {self.name}; slurmd -D -N {self.name} & wait"
        quiet = subprocess.DEVNULL
        command = ["unshare", *NAMESPACES, "bash", "-c", script]
        outer = self._cluster.popen(command, "/", stdin=quiet, stdout=quiet, stderr=quiet)
        self._init = child(outer, depth=2)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on the node at this moment."""
        return all_of(self._init) if self._init else []

    def kill(self) -> None:
        """Cut the power: every process of the node dies at once, and nothing is reported."""
        assert self._init is not None
        self._init.kill()
        until(f"{self.name} to die", lambda: not self.processes())
        self._init = None

    def freeze(self) -> None:
        """Stop every process of the node where it stands."""
        until(f"{self.name} to freeze", self._all_stopped)

    def thaw(self) -> None:
        """Let a frozen node go on, as if it had only been slow."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):  # those that went on before it may have ended it
                process.resume()

    def _all_stopped(self) -> bool:
        running = [process for process in self.processes() if status(process) not in ("stopped", "zombie", "gone")]
        for process in running:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        return not running


class Cluster:
    """A running cluster. Made by `start`."""

    def __init__(self, root: Path, init: psutil.Process) -> None:
        self.root = root
        self.init = init
        self._entered: list[subprocess.Popen[str]] = []
        self.nodes = {name: Node(self, name) for name in NODES}

    def popen(
        self, command: Sequence[str], cwd: Path | str, env: Mapping[str, str] | None = None, **more: Any
    ) -> subprocess.Popen[str]:
        """Start a command on the cluster's first machine, with the project's virtual environment.

        What comes back is nsenter, which ends as the command ends; `inside` gives the command itself.
        """
        enter = ["nsenter", "--target", str(self.init.pid), "--mount", "--uts", "--pid", f"--wd={cwd}", "--"]
        process = subprocess.Popen([*enter, *command], env=environment() | dict(env or {}), text=True, **more)
        self._entered.append(process)
        return process

    def run(
        self,
        command: Sequence[str],
        cwd: Path | str = "/",
        env: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> str:
        """Run a command to its end and give back what it printed; an exit code other than 0 is an AssertionError."""
        process = self.popen(
            command, cwd, env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            inside(process).kill()
            said, _ = process.communicate()
            raise AssertionError(f"{' '.join(command)}: not done after {timeout:g} s\n{said}\n{self.logs()}") from None
        assert process.returncode == 0, f"{' '.join(command)}: exit code {process.returncode}\n{said}"
        return str(said)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs in the cluster, its nodes too."""
        return all_of(self.init) + [process for node in self.nodes.values() for process in node.processes()]

    def state(self, job: str) -> str:
        """As squeue has it, also after the job's end."""
        return self.run(["squeue", "--states=all", "-h", "-j", job, "-o", "%T"]).strip()

    def over(self, job: str) -> bool:
        """Whether a job has ended, and not only goes back into the queue."""
        return self.state(job) not in ("PENDING", "RUNNING", "COMPLETING")

    def states(self) -> list[str]:
        """The states of n1 and n2, as sinfo has them."""
        return self.run(["sinfo", "-h", "-N", "-p", "main", "-o", "%T"]).split()

    def logs(self, lines: int = 20) -> str:
        """The last lines of every daemon's log."""
        return "\n".join(
            f"== {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
            for path in sorted((self.root / "log").glob("*.log"))
        )

    def clear(self) -> None:
        """Cancel every job and switch every node on again: what one test left must not meet the next."""
        self.run(["scancel", "--user", "root"])
        for node in self.nodes.values():
            node.thaw()
            if not node.processes():
                node.start()
        until("idle nodes", lambda: self.states() == ["idle"] * 2, said=self.logs)

    def end(self) -> None:
        """The kernel kills what is in a process namespace, and in those below it, when its first process dies."""
        processes = self.processes()
        self.init.kill()
        for process in self._entered:
            process.wait()
        psutil.wait_procs(processes, timeout=PATIENCE)


@contextmanager
def start(with_accounting: bool = False, kill_wait: int = KILL_WAIT, grace: int = 0) -> Iterator[Cluster]:
    """A cluster for the time of the block. `kill_wait` and `grace` are Slurm's KillWait and GraceTime, in seconds."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stages-slurm-")))
        root.chmod(0o755)
        daemons.configure(stack, root, with_accounting, kill_wait, grace)
        keeper = daemons.keep(root)
        cluster = Cluster(root, child(keeper, depth=1))
        stack.callback(keeper.wait)
        stack.callback(cluster.end)
        daemons.start_munged(cluster)
        if with_accounting:
            daemons.start_accounting(cluster)
        cluster.run(["slurmctld"])
        for node in cluster.nodes.values():
            node.start()
        until("idle nodes", lambda: _ready(cluster), said=cluster.logs)
        yield cluster


def _ready(cluster: Cluster) -> bool:
    return daemons.succeeds(cluster, ["sinfo", "-h"]) and cluster.states() == ["idle"] * 2


def main() -> None:
    """Start a cluster, say how to use it, and keep it until Ctrl-C."""
    accounting = "--accounting" in sys.argv[1:]
    if reason := missing(accounting):
        sys.exit(f"no cluster: {reason}")
    with start(accounting) as cluster:
        enter = f"nsenter --target {cluster.init.pid} --mount --uts --pid --wd=$PWD --"
        print(f"Two nodes are idle; state and logs are in {cluster.root}. In another terminal:\n  {enter} sinfo")
        print(
            f"  PATH={Path(sys.executable).parent}:$PATH {enter} snakemake --profile slurm\nCtrl-C ends it.", flush=True
        )
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("ended")


if __name__ == "__main__":
    main()
