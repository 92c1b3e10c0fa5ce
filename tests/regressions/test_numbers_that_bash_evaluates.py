"""Reported: what a lying server tells as a revision, or a position, bash runs as a command where a script computes.

`[[ $KVD_REVISION -gt 5 ]]` and `$((KVD_REVISION))` evaluate what the variable holds: `a[$(command)]`, too.
"""

import asyncio
from pathlib import Path

from tests.support.languages import CLIENTS
from tests.support.processes import PATIENCE, needs
from tests.support.scripted import Peer

LIE = "a[$(touch${IFS}ran)]"
SCRIPT = """
. "$1"; KVD_ADDRESS=$2 KVD_TIMEOUT=5
kvd_put a '' v; echo "put ${KVD_REVISION:+$((KVD_REVISION + 1))}"
kvd_put b if=1 v; echo "$KVD_ERROR ${KVD_REVISION:+$((KVD_REVISION + 1))}"
kvd_del c; echo "del ${KVD_REVISION:+$((KVD_REVISION + 1))}"
kvd_follow - '*'
while [ "$KVD_EVENT" != copied ]; do kvd_next || exit; done
[[ ${KVD_POSITION%@*} -gt 5 ]] && echo "at $KVD_POSITION"
"""


async def test_a_script_that_computes_runs_nothing_of_a_servers(tmp_path: Path) -> None:
    needs("bash")
    positions = iter((f"{LIE}@s", f"7@{LIE}@s", "7", "7@s1"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        while request := (await reader.readline()).decode():
            match request.split()[0]:
                case "FOLLOW":
                    peer.say("COPY new", "PAIR 1 k v", f"OK {next(positions)}")
                case "PUT" if "if=" in request:
                    peer.say(f"CONFLICT {LIE}")
                case _:
                    peer.say(f"OK {LIE}")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        bash = await asyncio.create_subprocess_exec(
            "bash", "-c", SCRIPT, "bash", str(CLIENTS / "bash" / "kvd.sh"), address,
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(bash.communicate(), PATIENCE)
    assert said.decode().split("\n") == ["put ", "conflict ", "del ", "at 7@s1", ""]
    assert list(tmp_path.iterdir()) == []
