"""The Sentinels: a majority of them must answer, and what the one with the highest epoch says is so."""

import logging
from typing import Any

from kvd.errors import StoreLost, StoreUnusable
from kvd.group_url import GroupUrl
from kvd.store.redis.connection import Rejected, command
from kvd.store.replicated.primary import Address, Primary
from kvd.store.replicated.witness import Witness, ask_all

logger = logging.getLogger("kvd.store")

DOWN_AFTER = 5.0
"""Seconds, where no Sentinel says after how many it takes a server for dead."""


class Sentinels:
    """`Witnesses` that are Sentinels."""

    def __init__(self, url: GroupUrl) -> None:
        self._name = url.name
        self._all = [Witness(url.of_witness(*node), url.of_witness(*node, as_data=True)) for node in url.nodes]

    async def find(self) -> Primary:
        """See `Witnesses`.

        Flags are those of any of them: one may know of a failover that the others have yet to hear of.
        """
        answers = await self._ask("MASTER")
        views = list(map(View, answers))
        best = max(views, key=lambda view: view.number(b"config-epoch"))
        address = best.address
        patience = best.number(b"down-after-milliseconds") / 1000
        replicas = [view.number(b"num-slaves") for view in views]
        return Primary(
            address,
            max(replicas),
            self._doubt([view.text(b"flags") for view in views if view.address == address], views),
            patience or DOWN_AFTER,
            len(replicas) == len(self._all) and min(replicas) == max(replicas) > 0,
        )

    def _doubt(self, flags: list[str], views: "list[View]") -> str:
        """flags: of those who name the same primary.  views: of all."""
        if any("failover_in_progress" in view.text(b"flags") for view in views):
            return "a failover is in progress"
        if any("o_down" in one for one in flags):
            return "the Sentinels agree that it is down"
        down = sum("s_down" in one for one in flags)
        return f"{down} of {len(self._all)} Sentinels say that it is down" if down * 2 > len(self._all) else ""

    async def _ask(self, word: str) -> list[Any]:
        """What each of them answers.  Raises StoreLost if those are no majority."""
        answers = [replies[0] for replies in await ask_all(self._all, command("SENTINEL", word, self._name))]
        known = [answer for answer in answers if not isinstance(answer, Rejected)]
        if len(answers) * 2 <= len(self._all):
            raise StoreLost(f"only {len(answers)} of {len(self._all)} Sentinels answer")
        if len(known) * 2 <= len(self._all):
            refused = next(answer for answer in answers if isinstance(answer, Rejected))
            raise StoreUnusable(f"the Sentinels say of {self._name!r}: {refused}")
        return known

    async def check(self) -> None:
        """See `Witnesses`."""
        views = list(map(View, await self._ask("MASTER")))
        others = max(view.number(b"num-other-sentinels") for view in views)
        if others >= len(self._all):
            logger.warning(
                "the Sentinels are %d, and --store names %d of them: name all, or a majority of those that are named "
                "may be none", others + 1, len(self._all),
            )  # fmt: skip
        replicas = [View(one) for answer in await self._ask("REPLICAS") for one in answer]
        priorities = {priority for view in replicas if (priority := view.text(b"slave-priority"))}
        if len(priorities) > 1:
            raise StoreUnusable(
                f"its replicas have different replica-priority ({', '.join(sorted(priorities))}), so that a failover "
                "may prefer one that lacks confirmed writes: give all servers the same"
            )

    async def close(self) -> None:
        """See `Witnesses`."""
        for one in self._all:
            await one.close()


class View:
    """What one Sentinel says of one server; what is asked of it is decoded then."""

    def __init__(self, flat: list[bytes]) -> None:
        self._words = dict(zip(flat[::2], flat[1::2], strict=True))

    def text(self, name: bytes) -> str:
        """A field, "" if it is not there."""
        return self._words.get(name, b"").decode(errors="replace")

    def number(self, name: bytes) -> int:
        """The same of a number, 0 if it is not there."""
        return int(self._words.get(name, b"0"))

    @property
    def address(self) -> Address:
        """Where the server is."""
        return self.text(b"ip"), self.number(b"port")
