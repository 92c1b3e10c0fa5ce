"""Requests that take long, and wait for nothing, do not keep those of others waiting for all of them."""

from pathlib import Path

from tests.support.memory import serving

MANY = 100
"""Requests that come together, fewer than for which lines alone give others their turn."""


async def test_others_have_their_turn_between_any_two_of_them(tmp_path: Path) -> None:
    """Found: others waited for half a minute for a hundred connections that asked for CLIENTS so often."""
    async with serving(tmp_path / "data") as service:
        peer, other = service.connect(), service.connect()
        assert await other.ask("PING") == await peer.ask("PING") == "OK"
        peer.send("CLIENTS\n" * MANY)
        other.send("CLIENTS\n")
        assert [(await other.line()).split(" ")[0] for _ in range(3)] == ["CLIENT", "CLIENT", "OK"]
        assert peer.session.facts().requests < MANY // 2
        assert (await peer.lines(3 * MANY))[-1] == "OK 2"
