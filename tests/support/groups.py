"""Servers that replicate each other, on loopback: three Redis under three Sentinels, or a cluster of five nodes."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import redis

from tests.support.group_access import FREE, Access
from tests.support.ports import quiet_port
from tests.support.processes import needs, wait_for

NAME = "main"
DOWN_AFTER = 1000
"""Milliseconds after which the Sentinels, or the other nodes, take one for dead."""
SETTINGS = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--repl-diskless-sync-delay", "0")


class Machine(NamedTuple):
    """Where a server runs: its address, and the network namespace, "" for ours."""

    host: str
    space: str


LOOPBACK = Machine("127.0.0.1", "")


class Node:
    """One server.  `start` it; `stop` it in any case."""

    def __init__(self, directory: Path, *options: str, machine: Machine = LOOPBACK, access: Access = FREE) -> None:
        directory.mkdir(parents=True)
        self._access = access
        self._is_sentinel = "--sentinel" in options
        self.directory = directory
        self.machine = machine
        self.host = machine.host
        self.port = quiet_port()
        self.options = options
        self._prefix = ["ip", "netns", "exec", machine.space] if machine.space else []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        clustered = "--cluster-enabled" in self.options
        listening = self._access.listening(self.host, self.port, cluster=clustered)
        binding = [*listening, "--bind", self.host, "--dir", str(self.directory)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, "redis-server", *self.options, *binding, *options], stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(f"redis-server on {self.port}", self.answers)

    def answers(self) -> bool:
        """Whether it does, and has its data."""
        assert self._process
        assert self._process.poll() is None, (self.directory / "log").read_text()[-500:]
        with suppress(redis.RedisError):
            return bool(self.ask("PING"))
        return False

    def client(self, timeout: float) -> "redis.Redis":
        """One of redis-py's; `close` it.  timeout: seconds for each reply."""
        access = self._access.client(of_sentinel=self._is_sentinel)
        return redis.Redis(self.host, self.port, socket_timeout=timeout, retry=None, protocol=2, **access)  # type: ignore[arg-type]

    def ask(self, *words: str | int) -> object:
        """Its reply to a command."""
        client = self.client(timeout=10)
        try:
            return client.execute_command(*words)  # type: ignore[no-untyped-call]
        finally:
            client.close()

    def info(self, section: str) -> dict[str, object]:
        """What INFO says of it."""
        found = self.ask("INFO", section)
        assert isinstance(found, dict)
        return found

    @property
    def runs(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def signal(self, number: int) -> None:
        assert self._process
        self._process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`, also of one that is stopped."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


class Group:
    """What both forms have in common.

    nodes: those that hold kvd's data, the first primary first.  url: for --store.
    """

    nodes: list[Node]
    all: list[Node]
    url: str

    def close(self) -> None:
        for node in self.all:
            node.kill()

    @property
    def primary(self) -> Node:
        """The one that is agreed on now."""
        raise NotImplementedError

    def other(self, than: Node) -> bool:
        """Whether there is another primary."""
        with suppress(redis.RedisError, StopIteration):
            return self.primary is not than
        return False

    def wait_for_replicas(self) -> None:
        """Wait until all of them follow the primary."""
        all_of_them = len(self.nodes) - 1
        wait_for("the replicas", lambda: self.primary.info("replication")["connected_slaves"] == all_of_them)

    def hurry(self) -> None:
        """Have those who watch over it do at once what they take their time for."""

    def pause(self, node: Node) -> None:
        node.signal(signal.SIGSTOP)

    def go_on(self, node: Node) -> None:
        node.signal(signal.SIGCONT)


class SentinelGroup(Group):
    """Three Redis, the first of them the primary, under three Sentinels."""

    def __init__(
        self, directory: Path, *options: str, machines: Sequence[Machine] = (), access: Access = FREE
    ) -> None:  # fmt: skip
        """options: of the servers.  machines: first those of the servers, then those of the Sentinels."""
        machines = machines or [LOOPBACK] * 6
        options = (*SETTINGS, *options, *access.of_servers())
        self.nodes = [
            Node(directory / f"node{n}", *options, machine=machine, access=access)
            for n, machine in enumerate(machines[:3])
        ]
        first = self.nodes[0]
        self.sentinels = []
        for n, machine in enumerate(machines[3:]):
            place = directory / f"sentinel{n}"
            self.sentinels.append(Node(place, str(place / "conf"), "--sentinel", machine=machine, access=access))
            (place / "conf").write_text(
                f"sentinel monitor {NAME} {first.machine.host} {first.port} 2\n"
                f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER}\n"
                f"sentinel failover-timeout {NAME} 6000\nsentinel parallel-syncs {NAME} 2\n"
                + "".join(f"{line}\n" for line in access.of_sentinels(NAME))
            )
        self.all = [*self.nodes, *self.sentinels]
        self.url = access.url("sentinel", [(one.host, one.port) for one in self.sentinels], f"/{NAME}")

    def start(self) -> None:
        """Start all of it, and wait until all know each other."""
        first, *replicas = self.nodes
        first.start()
        for node in replicas:
            node.start("--replicaof", f"{first.host} {first.port}")
        for node in self.sentinels:
            node.start()
            # After a pause of the machine they trust their clocks again in a second, and not in thirty.
            node.ask("SENTINEL", "DEBUG", "tilt-period", 1000)
        self.wait_for_replicas()
        wait_for("the Sentinels", lambda: all(self.knows_all(node, len(replicas)) for node in self.sentinels))

    def hurry(self) -> None:
        """Have the Sentinels do in tenths of a second what takes them up to ten else, such as to look for replicas."""
        for node in self.sentinels:
            for period in ("info", "publish", "ask"):
                node.ask("SENTINEL", "DEBUG", f"{period}-period", 100)
            node.ask("SENTINEL", "SET", NAME, "failover-timeout", 1500)

    @staticmethod
    def priorities(sentinel: Node) -> set[str]:
        """Those of the replicas, as a Sentinel has them."""
        views = sentinel.ask("SENTINEL", "REPLICAS", NAME)
        assert isinstance(views, list)
        return {fields(view)["slave-priority"] for view in views}

    @staticmethod
    def knows_all(sentinel: Node, replicas: int) -> bool:
        """Whether it knows the others, and so many replicas, and has no doubts."""
        view = fields(sentinel.ask("SENTINEL", "MASTER", NAME))
        return (view["num-other-sentinels"], view["num-slaves"], view["flags"]) == ("2", str(replicas), "master")

    @property
    def primary(self) -> Node:
        """See `Group`."""
        views = []
        for node in self.sentinels:
            with suppress(redis.RedisError):
                views.append(fields(node.ask("SENTINEL", "MASTER", NAME)))
        best = max(views, key=lambda view: int(view["config-epoch"]))
        return next(node for node in self.nodes if (node.host, str(node.port)) == (best["ip"], best["port"]))


def fields(reply: object) -> dict[str, str]:
    """A reply of names and values in turn, however redis-py gives it."""
    if isinstance(reply, dict):
        return {_text(name): _text(value) for name, value in reply.items()}
    assert isinstance(reply, list)
    words = [_text(word) for word in reply]
    return dict(zip(words[::2], words[1::2], strict=True))


def _text(word: object) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


class ClusterGroup(Group):
    """A primary with two replicas, and two more primaries without data, which vote."""

    def __init__(
        self, directory: Path, *options: str, machines: Sequence[Machine] = (), access: Access = FREE
    ) -> None:  # fmt: skip
        """options: of the nodes.  machines: first those of the nodes with data."""
        settings = (
            "--cluster-enabled", "yes", "--cluster-node-timeout", str(DOWN_AFTER + DOWN_AFTER // 2),
            "--cluster-allow-replica-migration", "no", "--cluster-require-full-coverage", "no",
        )  # fmt: skip
        options = (*SETTINGS, *settings, *options, *access.of_servers())
        self.all = [
            Node(directory / f"node{n}", *options, machine=machine, access=access)
            for n, machine in enumerate(machines or [LOOPBACK] * 5)
        ]
        self.nodes = self.all[:3]
        self.url = access.url("cluster", [(one.host, one.port) for one in self.all])

    def start(self) -> None:
        """Start all of it, and wait until all agree."""
        for node in self.all:
            node.start()
        first, *replicas = self.nodes
        slot = first.ask("CLUSTER", "KEYSLOT", "{kvd}:")
        assert isinstance(slot, int)
        # The two that vote have a slot each.
        voters = [range(1), range(1, 2)]
        for node, slots in zip([first, *self.all[3:]], [range(2, 16384), *voters], strict=True):
            node.ask("CLUSTER", "ADDSLOTS", *slots)
        for place, node in enumerate(self.all):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", place + 1)
        wait_for("the nodes", self._have_met)
        name = next(words[0] for words in self.view(first) if "myself" in words[2])
        for node in replicas:
            node.ask("CLUSTER", "REPLICATE", name)
        wait_for("the replicas", lambda: first.info("replication")["connected_slaves"] == len(replicas))
        wait_for("the cluster", lambda: all(self._knows_all(node, name) for node in self.all))

    def _have_met(self) -> bool:
        """Whether all nodes know each other; who knows nobody, yet or because the machine paused, is introduced."""
        first, *others = self.all
        for node in others:
            if len(self.view(node)) == 1:
                node.ask("CLUSTER", "MEET", first.host, first.port)
        return all(len(self.view(node)) == len(self.all) for node in self.all)

    @staticmethod
    def view(node: Node) -> list[list[str]]:
        """The words of each line of CLUSTER NODES."""
        return [line.split() for line in _text(node.ask("CLUSTER", "NODES")).splitlines()]

    def _knows_all(self, node: Node, name: str) -> bool:
        replicas = sum(words[3] == name for words in self.view(node))
        return replicas == len(self.nodes) - 1 and "cluster_state:ok" in _text(node.ask("CLUSTER", "INFO"))

    @property
    def primary(self) -> Node:
        """See `Group`."""
        best, found = -1, self.nodes[0]
        for node in self.all:
            with suppress(redis.RedisError):
                for words in self.view(node):
                    port = int(words[1].partition("@")[0].rpartition(":")[2])
                    if "master" in words[2] and len(words) > 8 and int(words[6]) > best:
                        of_data = [one for one in self.nodes if one.port == port]
                        best, found = (int(words[6]), of_data[0]) if of_data else (best, found)
        return found


G = TypeVar("G", SentinelGroup, ClusterGroup)


@contextmanager
def running(group: G) -> Iterator[G]:
    """A group, started, and ended whatever happens."""
    needs("redis-server")
    try:
        group.start()
        yield group
    finally:
        group.close()
