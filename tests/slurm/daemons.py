"""The cluster's configuration, its first process, and its daemons: munged, and with accounting MariaDB and slurmdbd."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.edits import substituted
from tests.slurm.spaces import NAMESPACES
from tests.waiting import until

if TYPE_CHECKING:
    from tests.slurm.cluster import Cluster

HERE = Path(__file__).resolve().parent
ACCOUNT = "lab"
PORTS = range(20000, 30000)  # below those that Linux gives to outgoing connections


def configure(stack: ExitStack, root: Path, accounting: bool, kill_wait: int, grace: int) -> None:
    """Lay out the cluster's folder. Its ports are kept from other clusters for as long as `stack` is open."""
    for name in ("etc", "log", "state", "spool/n1", "spool/n2", "db"):
        (root / name).mkdir(parents=True)
    key = root / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    ports = dict(
        zip(("CTL_PORT", "N1_PORT", "N2_PORT", "DBD_PORT", "DB_PORT"), map(str, _ports(stack, 5)), strict=True)
    )
    storage = "accounting_storage/none"
    if accounting:
        storage = f"accounting_storage/slurmdbd\nAccountingStorageHost=ctl\nAccountingStoragePort={ports['DBD_PORT']}"
        storage += f"\nAccountingStoragePass={root}/munge.socket\nAccountingStorageEnforce=associations"
    words = {"ROOT": str(root), "ACCOUNTING": storage, "KILL_WAIT": str(kill_wait), "GRACE": str(grace)} | ports
    for name in ("slurm.conf", "slurmdbd.conf"):
        text = substituted((HERE / f"{name}.in").read_text(), "@(.+?)@", lambda found: words[found[1]], everywhere=True)
        (root / "etc" / name).write_text(text)
        (root / "etc" / name).chmod(0o600)
    (root / "etc/gres.conf").write_text("NodeName=n[1-2] Name=gpu File=/dev/null,/dev/zero\n")  # pretend GPUs
    hosts = Path("/etc/hosts").read_text() + "127.0.0.1 ctl n1 n2\n"
    (root / "hosts").write_text(hosts)
    (root / "ports").write_text("\n".join(f"{name} {port}" for name, port in ports.items()))


def keep(root: Path) -> subprocess.Popen[str]:
    """The first process of the cluster's namespaces; it dies with whoever started it."""
    mounts = f"mount --bind {root}/etc /etc/slurm && mount --bind {root}/hosts /etc/hosts && hostname ctl"
    die_too = ["setpriv", "--pdeathsig", "KILL"]
    script = f"{mounts} && touch {root}/up || exit; sleep infinity & wait"
    with (root / "log/namespaces.log").open("w") as log:
        command = [*die_too, "unshare", *NAMESPACES, "bash", "-c", script]
        keeper = subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, stderr=log)

    said = (root / "log/namespaces.log").read_text
    until("the namespaces", (root / "up").exists, lambda: keeper.poll() is not None, said, every=0.02)
    return keeper


def start_munged(cluster: Cluster) -> None:
    """Who vouches for everyone in the cluster."""
    root = cluster.root
    key, log = root / "munge.key", root / "log/munged.log"
    sockets = [f"--socket={root}/munge.socket", f"--pid-file={root}/munged.pid", f"--seed-file={root}/munged.seed"]
    cluster.run(["munged", "--force", f"--key-file={key}", f"--log-file={log}", "--num-threads=2", *sockets])


def start_accounting(cluster: Cluster) -> None:
    """MariaDB and slurmdbd on folders and ports of their own, with one account."""
    root = cluster.root
    ports = dict(line.split() for line in (root / "ports").read_text().splitlines())
    data = ["--no-defaults", f"--datadir={root}/db", "--user=root"]
    cluster.run(["mariadb-install-db", *data, "--skip-test-db", "--auth-root-authentication-method=normal"])
    where = [f"--socket={root}/db.socket", "--bind-address=127.0.0.1", f"--port={ports['DB_PORT']}"]
    with (root / "log/mariadbd.log").open("w") as log:
        small = ["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"]
        database = cluster.popen(["mariadbd", *data, *where, *small], "/", stdout=log, stderr=log)
    until("MariaDB", (root / "db.socket").exists, lambda: database.poll() is not None, cluster.logs)
    cluster.run(["slurmdbd"])
    until("slurmdbd", lambda: succeeds(cluster, ["sacctmgr", "-n", "show", "cluster"]), said=cluster.logs)
    for words in (["cluster", "stages"], ["account", ACCOUNT], ["user", "root", f"account={ACCOUNT}"]):
        cluster.run(["sacctmgr", "-i", "add", *words])


def succeeds(cluster: Cluster, command: Sequence[str]) -> bool:
    """Whether a command ends with exit code 0."""
    try:
        cluster.run(command)
    except AssertionError:
        return False
    return True


def _ports(stack: ExitStack, count: int) -> list[int]:
    """Ports that nobody listens on. A UDP socket on each, which Slurm does not use, tells other clusters so."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with suppress(OSError), socket.socket() as probe, ExitStack() as kept:
            kept.enter_context(socket.socket(type=socket.SOCK_DGRAM)).bind(("127.0.0.1", port))
            probe.bind(("127.0.0.1", port))
            stack.enter_context(kept.pop_all())
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} free ports in {PORTS}")
