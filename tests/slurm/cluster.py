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
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
NODES = ("n1", "n2")
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "unshare", "nsenter", "setpriv")
ACCOUNTING = ("mariadbd", "mariadb-install-db", "slurmdbd", "sacctmgr")
PACKAGES = "slurm-wlm munge slurmdbd mariadb-server"
ACCOUNT = "lab"
NAMESPACES = ["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
START_WAIT = 60.0


def missing(accounting: bool = False) -> str | None:
    """Why no cluster can be started here, in words; None if one can."""
    if os.geteuid() != 0:
        return "a test cluster needs root (namespaces, munged)"
    absent = [
        name for name in (*NEEDED, *(ACCOUNTING if accounting else ())) if shutil.which(name, path=_path()) is None
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
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        outer = self._cluster.popen(["unshare", *NAMESPACES, "bash", "-c", script], "/", **quiet)
        self._init = _child(outer, depth=2)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on the node at this moment."""
        return _all_of(self._init) if self._init else []

    def kill(self) -> None:
        """Cut the power: every process of the node dies at once, and nobody is told."""
        assert self._init is not None
        self._init.kill()
        wait_for(lambda: not self.processes(), f"{self.name} to die", 10)
        self._init = None

    def freeze(self) -> None:
        """Stop every process of the node where it stands."""
        wait_for(self._all_stopped, f"{self.name} to freeze", 10)

    def thaw(self) -> None:
        """Let a frozen node go on, as if it had only been slow."""
        for process in self.processes():
            process.resume()

    def _all_stopped(self) -> bool:
        running = [process for process in self.processes() if _status(process) not in ("stopped", "zombie", "gone")]
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
        self, command: Sequence[str], cwd: Path | str, env: Mapping[str, str] | None = None, **more: object
    ) -> subprocess.Popen[str]:
        """Start a command on the cluster's first machine, with the project's virtual environment.

        What comes back is nsenter, which ends as the command ends; `inside` gives the command itself.
        """
        enter = ["nsenter", "--target", str(self.init.pid), "--mount", "--uts", "--pid", f"--wd={cwd}", "--"]
        process = subprocess.Popen([*enter, *command], env=environment() | dict(env or {}), text=True, **more)  # type: ignore[call-overload]
        self._entered.append(process)
        return process  # type: ignore[no-any-return]

    def run(
        self, command: Sequence[str], cwd: Path | str = "/", env: Mapping[str, str] | None = None, timeout: float = 120
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
        return _all_of(self.init) + [process for node in self.nodes.values() for process in node.processes()]

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
        wait_for(lambda: self.states() == ["idle"] * 2, "idle nodes", START_WAIT, self.logs)

    def end(self) -> None:
        """The kernel kills what is in a process namespace, and in those below it, when its first process dies."""
        processes = self.processes()
        self.init.kill()
        for process in self._entered:
            process.wait()
        psutil.wait_procs(processes, timeout=10)


@contextmanager
def start(with_accounting: bool = False, kill_wait: int = 3, grace: int = 0) -> Iterator[Cluster]:
    """A cluster for the time of the block. `kill_wait` and `grace` are Slurm's KillWait and GraceTime, in seconds."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stages-slurm-")))
        root.chmod(0o755)
        _configure(root, with_accounting, kill_wait, grace)
        keeper = _keep(root)
        cluster = Cluster(root, _child(keeper, depth=1))
        stack.callback(keeper.wait)
        stack.callback(cluster.end)
        key, log = root / "munge.key", root / "log/munged.log"
        sockets = [f"--socket={root}/munge.socket", f"--pid-file={root}/munged.pid", f"--seed-file={root}/munged.seed"]
        cluster.run(["munged", "--force", f"--key-file={key}", f"--log-file={log}", "--num-threads=2", *sockets])
        if with_accounting:
            _start_accounting(cluster)
        cluster.run(["slurmctld"])
        for node in cluster.nodes.values():
            node.start()
        wait_for(lambda: _ready(cluster), "idle nodes", START_WAIT, cluster.logs)
        yield cluster


def environment() -> dict[str, str]:
    """The project's virtual environment and its sources; nothing that an outer Slurm job may have left."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "PYTEST_"))}
    python_path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    return kept | {"PATH": _path(), "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"}


def inside(process: subprocess.Popen[str]) -> psutil.Process:
    """The command itself, of what `Cluster.popen` gave."""
    return _child(process, depth=1)


def wait_for(
    holds: Callable[[], object], what: str, seconds: float, more: Callable[[], str] = lambda: "", every: float = 0.2
) -> None:
    """Wait until `holds()`; an AssertionError that says what was waited for when it does not."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}\n{more()}"
        time.sleep(every)


def _configure(root: Path, accounting: bool, kill_wait: int, grace: int) -> None:
    for name in ("etc", "log", "state", "spool/n1", "spool/n2", "db"):
        (root / name).mkdir(parents=True)
    key = root / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    ports = dict(zip(("CTL_PORT", "N1_PORT", "N2_PORT", "DBD_PORT", "DB_PORT"), map(str, _free_ports(5)), strict=True))
    storage = "accounting_storage/none"
    if accounting:
        storage = f"accounting_storage/slurmdbd\nAccountingStorageHost=ctl\nAccountingStoragePort={ports['DBD_PORT']}"
        storage += f"\nAccountingStoragePass={root}/munge.socket\nAccountingStorageEnforce=associations"
    words = {"ROOT": str(root), "ACCOUNTING": storage, "KILL_WAIT": str(kill_wait), "GRACE": str(grace)} | ports
    for name in ("slurm.conf", "slurmdbd.conf"):
        text = (HERE / f"{name}.in").read_text()
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        (root / "etc" / name).write_text(text)
        (root / "etc" / name).chmod(0o600)
    (root / "etc/gres.conf").write_text("NodeName=n[1-2] Name=gpu File=/dev/null,/dev/zero\n")  # pretend GPUs
    hosts = Path("/etc/hosts").read_text() + "127.0.0.1 ctl n1 n2\n"
    (root / "hosts").write_text(hosts)
    (root / "ports").write_text("\n".join(f"{name} {port}" for name, port in ports.items()))


def _keep(root: Path) -> subprocess.Popen[str]:
    """The first process of the cluster's namespaces; it dies with whoever started it."""
    mounts = f"mount --bind {root}/etc /etc/slurm && mount --bind {root}/hosts /etc/hosts && hostname ctl"
    die_too = ["setpriv", "--pdeathsig", "KILL"]
    script = f"{mounts} && touch {root}/up || exit; sleep infinity & wait"
    with (root / "log/namespaces.log").open("w") as log:
        command = [*die_too, "unshare", *NAMESPACES, "bash", "-c", script]
        keeper = subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, stderr=log)
    wait_for((root / "up").exists, "the namespaces", 10, every=0.02)
    return keeper


def _start_accounting(cluster: Cluster) -> None:
    """MariaDB and slurmdbd on folders and ports of their own, with one account."""
    root = cluster.root
    ports = dict(line.split() for line in (root / "ports").read_text().splitlines())
    data = ["--no-defaults", f"--datadir={root}/db", "--user=root"]
    cluster.run(["mariadb-install-db", *data, "--skip-test-db", "--auth-root-authentication-method=normal"])
    where = [f"--socket={root}/db.socket", "--bind-address=127.0.0.1", f"--port={ports['DB_PORT']}"]
    with (root / "log/mariadbd.log").open("w") as log:
        small = ["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"]
        cluster.popen(["mariadbd", *data, *where, *small], "/", stdout=log, stderr=log)
    wait_for((root / "db.socket").exists, "MariaDB", START_WAIT, cluster.logs)
    cluster.run(["slurmdbd"])
    wait_for(lambda: _succeeds(cluster, ["sacctmgr", "-n", "show", "cluster"]), "slurmdbd", START_WAIT, cluster.logs)
    for words in (["cluster", "stages"], ["account", ACCOUNT], ["user", "root", f"account={ACCOUNT}"]):
        cluster.run(["sacctmgr", "-i", "add", *words])


def _ready(cluster: Cluster) -> bool:
    return _succeeds(cluster, ["sinfo", "-h"]) and cluster.states() == ["idle"] * 2


def _succeeds(cluster: Cluster, command: Sequence[str]) -> bool:
    try:
        cluster.run(command)
    except AssertionError:
        return False
    return True


def _child(process: subprocess.Popen[str], depth: int) -> psutil.Process:
    """The only child of the only child ... of a process: past the commands that fork once and wait."""
    found = psutil.Process(process.pid)
    for _ in range(depth):
        wait_for(lambda now=found: now.children(), "a process to start its child", 10, every=0.01)
        found = found.children()[0]
    return found


def _all_of(init: psutil.Process) -> list[psutil.Process]:
    """Every process in the process namespace whose first one is `init`; nothing when that one is gone."""
    mine = _namespace(init.pid) if init.is_running() else None
    return [process for process in psutil.process_iter() if mine and _namespace(process.pid) == mine]


def _namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return "gone"


def _path() -> str:
    words = [
        str(Path(sys.executable).parent),
        *os.environ.get("PATH", os.defpath).split(os.pathsep),
        "/usr/sbin",
        "/sbin",
    ]
    return os.pathsep.join(dict.fromkeys(words))


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


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
