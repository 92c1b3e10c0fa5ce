"""What the limit of time of a line counts for: each line is another thing."""

from itertools import pairwise
from pathlib import Path

from kvd.session.limits import Limit
from tests.support.memory import serving


async def test_each_line_is_another_as_long_as_it_has_no_end(tmp_path: Path) -> None:
    """There is always one that has begun, and each comes in time."""
    async with serving(tmp_path / "data") as service:
        peer = service.connect()
        assert await peer.ask("PING") == "OK"
        assert peer.session.begun(Limit.LINE) is None
        peer.send("PING 0")
        begun = [peer.session.begun(Limit.LINE)]
        for number in range(1, 10):
            peer.send(f"\nPING {number}")
            assert await peer.line() == f"OK {number - 1}"
            begun.append(peer.session.begun(Limit.LINE))
            peer.send(" and more")
            assert peer.session.begun(Limit.LINE) == begun[-1]
            peer.send("\n")
            assert await peer.line() == f"OK {number} and more"
            assert peer.session.begun(Limit.LINE) is None
            peer.send(f"PING {number}")
        assert None not in begun
        assert all(one != next_one for one, next_one in pairwise(begun))
