"""The nodes of a cluster: where the slot of kvd's keys is, as most of them say.

None of redis-py's cluster clients is used: they pick a connection for each call, and so a WAIT on another one than the
write before it says that all is replicated.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from kvd.errors import StoreLost, StoreUnusable
from kvd.group_url import GroupUrl
from kvd.store.redis.connection import PREFIX, Rejected, command
from kvd.store.replicated.primary import Address, Primary, shown
from kvd.store.replicated.witness import Witness, ask_all

PATIENCE = 5.0
"""Seconds without an answer of most nodes after which what a primary has is not taken for granted any more."""

_SLOT = command("CLUSTER", "KEYSLOT", PREFIX)
_NODES = command("CLUSTER", "NODES")
_GONE = {"fail", "noaddr", "handshake"}
_CHECKED = {
    "cluster-allow-replica-migration": (
        "a replica of kvd's primary may be moved to another one in silence, and be missing when it is needed"
    ),
    "cluster-require-full-coverage": "kvd's keys are refused when other slots are away, which hold nothing of kvd's",
}
"""Settings that must be "no", and what happens else."""


class Node(NamedTuple):
    """One line of CLUSTER NODES."""

    name: str
    address: Address
    flags: list[str]
    primary: str
    epoch: int
    slots: list[str]

    @classmethod
    def of(cls, line: str) -> "Node":
        """That of a line: id ip:port@cport[,hostname] flags primary ping pong epoch link slots."""
        name, place, flags, primary, _, _, epoch, _, *slots = line.split(" ")
        host, _, port = place.partition("@")[0].rpartition(":")
        return cls(name, (host, int(port)), flags.split(","), primary, int(epoch), slots)

    def has(self, slot: int) -> bool:
        """Whether it serves a slot."""
        ranges = (one.partition("-") for one in self.slots if not one.startswith("["))
        return "master" in self.flags and any(int(a) <= slot <= int(b or a) for a, _, b in ranges)

    @property
    def lost_its_slots(self) -> bool:
        """Whether it was a primary, and is away: it comes back as a replica of who took over."""
        return "master" in self.flags and "fail" in self.flags and not self.slots


class View(NamedTuple):
    """What one node says.  slot: that of kvd's keys."""

    slot: int
    nodes: list[Node]

    @property
    def by(self) -> str:
        """Whose it is; "" if it does not tell."""
        return next((node.name for node in self.nodes if "myself" in node.flags), "")


def _members(views: Sequence[View]) -> set[str]:
    """The names of the nodes that most of those know who answer, also of those that are away."""
    counts = Counter(node.name for view in views for node in view.nodes if "handshake" not in node.flags)
    return {name for name, count in counts.items() if count * 2 > len(views)}


def replicas_of(primary: Node, nodes: Iterable[Node]) -> int:
    """How many a primary has, also those that are away."""
    return sum(node.primary == primary.name or node.lost_its_slots for node in nodes)


class Cluster:
    """`Witnesses` that are a cluster's nodes: those that were named, and those that most of them know.

    A node is known by its name, for its address may change, and those that were given may be other ones of the same.
    """

    def __init__(self, url: GroupUrl) -> None:
        self._url = url
        self._all: dict[Address, Witness] = {}
        self._members: set[str] = set()
        self._know(url.nodes)

    def _know(self, addresses: Iterable[Address]) -> None:
        for one in addresses:
            if one not in self._all:
                self._all[one] = Witness(self._url.of_witness(*one))

    async def find(self) -> Primary:
        """See `Witnesses`."""
        views = await self._ask()
        if await self._follow(views):
            # Of those who were named, some were asked for the first time.
            views = await self._ask()
        views = self._of_majority(views)
        found = [node for view in views for node in view.nodes if node.has(view.slot)]
        if not found:
            raise StoreLost("no node of the cluster knows who has the slot of kvd's keys")
        best = max(found, key=lambda node: node.epoch)
        host = best.address[0] or self._host_of(best)
        replicas = [replicas_of(best, view.nodes) for view in views]
        doubt = self._doubt([node.flags for node in found if node.name == best.name])
        is_agreed = len(views) == len(self._members) and min(replicas) == max(replicas) > 0
        return Primary((host, best.address[1]), max(replicas), doubt, PATIENCE, is_agreed)

    def _of_majority(self, views: "Sequence[View]") -> "list[View]":
        """Without those of nodes that were taken out of the cluster.  Raises StoreLost if the others are too few.

        They must be most of those that were in it before, too: else one that was taken out might speak for all.
        """
        if not views:
            raise StoreLost("no node of the cluster answers")
        members, answered = _members(views), {view.by for view in views}
        for group in (self._members or members, members):
            if (there := len(answered & group)) * 2 <= len(group):
                raise StoreLost(f"only {there} of {len(group)} nodes of the cluster answer")
        self._members = members
        return [view for view in views if view.by in members]

    async def _follow(self, views: "Sequence[View]") -> bool:
        """Ask from now on those whom most know, and those that were named; whether there are new ones."""
        members = _members(views)
        nodes = [node for view in views for node in view.nodes if node.name in members and node.address[0]]
        if not nodes:
            return False
        for address in self._all.keys() - {node.address for node in nodes} - set(self._url.nodes):
            if witness := self._all.pop(address, None):
                await witness.close()
        before = len(self._all)
        self._know(node.address for node in nodes if _GONE.isdisjoint(node.flags))
        return len(self._all) > before

    def _host_of(self, node: Node) -> str:
        """A node that nobody has met yet does not know its own address."""
        return next((host for host, port in self._all if port == node.address[1]), "")

    def _doubt(self, flags: list[list[str]]) -> str:
        if any("fail" in one for one in flags):
            return "the cluster agrees that it is down"
        down = sum("fail?" in one for one in flags)
        return f"{down} nodes say that it is down" if down * 2 > len(flags) else ""

    async def _ask(self) -> "list[View]":
        """What each of those says who answer."""
        answers = await ask_all(list(self._all.values()), _SLOT, _NODES)
        known = [(slot, nodes) for slot, nodes in answers if not isinstance(slot, Rejected)]
        if answers and not known:
            raise StoreUnusable(f"it is no cluster: {answers[0][0]}")
        views = [View(int(slot), [Node.of(line) for line in nodes.decode().splitlines()]) for slot, nodes in known]
        # One of each, by whichever of its addresses it was asked.
        return list({view.by: view for view in views}.values())

    async def check(self) -> None:
        """See `Witnesses`."""
        await self.find()
        questions = [command("CONFIG", "GET", name) for name in _CHECKED]
        for address, witness in list(self._all.items()):
            replies = [reply for answer in await ask_all([witness], *questions) for reply in answer]
            for (name, why), reply in zip(_CHECKED.items(), replies, strict=False):
                if _value(reply) == b"yes":
                    raise StoreUnusable(
                        f"{shown(address)} has {name} yes: {why}; to change it: redis-cli CONFIG SET {name} no"
                    )

    async def close(self) -> None:
        """See `Witnesses`."""
        for one in self._all.values():
            await one.close()


def _value(reply: Any) -> Any:
    """Of a setting; None if it is not told, or not known."""
    return None if isinstance(reply, Rejected) or not reply else reply[1]
