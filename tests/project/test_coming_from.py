"""docs/coming-from.md: each conversation goes as it is shown."""

import re
from contextlib import AsyncExitStack

import pytest

from tests.support.processes import ROOT, StartDaemon
from tests.support.vectors import Player, Step, steps_of, tcp

PAGE = (ROOT / "docs" / "coming-from.md").read_text()
PARTS = {
    title: "".join(re.findall(r"^```text\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
}
"""The conversations of each part, one after the other."""
PEERS = ["etcd", "Consul", "NATS KV", "ZooKeeper", "Redis"]


def conversation(part: str) -> list[Step]:
    """Its steps, with the marks for the store's id and for the time that is left."""
    text = re.sub(r"@[0-9a-f]{8}\b", "@STORE", PARTS[part])
    return steps_of(re.sub(r"^S: OK \d+\.\d+$", "S: OK SECONDS", text, flags=re.MULTILINE).split("\n"))


@pytest.mark.slow
@pytest.mark.parametrize("part", PEERS)
async def test_each_idiom_is_as_it_is_shown(part: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--fsync", "no")
    async with AsyncExitStack() as stack:
        player = Player(tcp(daemon.port, stack))
        await player.play(conversation(part))
        await player.finish()


def test_each_peer_has_its_idioms() -> None:
    assert [title for title, text in PARTS.items() if text] == PEERS
    for part in PEERS:
        assert len(re.findall(r"^C\d?: ", PARTS[part], re.MULTILINE)) > 10
    idioms = ("lease", "session", "ephemeral", "sequential", "`txn`", "blocking query", "lock", "election", "History")
    assert [idiom for idiom in idioms if idiom not in PAGE] == []


def test_the_page_is_linked() -> None:
    assert "(docs/coming-from.md)" in (ROOT / "README.md").read_text()
