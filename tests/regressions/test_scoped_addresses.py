"""Reported: `--listen [fe80::1%eth0]:5830` was refused as no address."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kvd.addresses import Address, address
from kvd.process.sockets import listen
from tests.support.processes import PATIENCE, ROOT

LINK_LOCAL = """
import fcntl, os, socket, struct, sys
SIOCSIFADDR, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8914, 1
index = socket.if_nametoindex("lo")
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    fcntl.ioctl(control, SIOCSIFADDR, socket.inet_pton(socket.AF_INET6, "fe80::1") + struct.pack("Ii", 64, index))
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Gives the loopback interface of an empty network namespace a link-local address, and becomes another program."""
NAMESPACE = ["unshare", "--net", sys.executable, "-c", LINK_LOCAL]

SESSION = """
coproc "$1" -m kvd --listen "$2" --data "$3" --workers "$4" --insecure
read -r greeting <&"${COPROC[0]}"
addr=${greeting##* listens on }
echo "$addr"
"$1" kvctl.py --addr "$addr" set a 1
"$1" kvctl.py --addr "${addr/\\%lo/%1}" get a
kill "$COPROC_PID"
wait "$COPROC_PID"
echo " status $?"
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("scope", ["lo", "1"])
def test_a_daemon_listens_on_a_link_local_address(tmp_path: Path, scope: str, workers: str) -> None:
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespace of networks can be made here")
    done = subprocess.run(
        [*NAMESPACE, "bash", "-c", SESSION, "bash", sys.executable, f"[fe80::1%{scope}]:5830", str(tmp_path), workers],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    wanted = ["[fe80::1%lo]:5830", "1", "1 status 0"]
    assert done.stdout.splitlines() == wanted, done.stderr


@pytest.mark.parametrize("scope", ["lo", "1"])
def test_the_loopback_address_may_have_a_scope(scope: str) -> None:
    if not socket.has_ipv6 or sys.platform != "linux":
        pytest.skip("lo is Linux's")
    (listener,) = listen([address(f"[::1%{scope}]:0", "--listen")])
    with listener.socket:
        assert isinstance(listener.address, Address)
        assert listener.address.host == "::1"
        assert listener.address.port == listener.socket.getsockname()[1]
