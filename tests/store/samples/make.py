"""Makes samples of an older layout: `python make.py CHECKOUT NUMBER`, where CHECKOUT is kvd as it wrote that layout.

The daemon of that checkout serves REQUESTS on a new directory; what it leaves in its append-only file is a sample, and
the files of that directory are another.
"""

import gzip
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
from base64 import b64encode
from pathlib import Path

LARGE, LARGER, RAW = "large" * 900, "larger" * 900, b"\xff\x00\n" * 1500
REQUESTS = [
    "SET text hello world",
    "SET empty ",
    "SET ключ значение",
    f"PUT bytes base64 = {b64encode(bytes(range(256))).decode()}",
    "PUT late ttl=1000000000 = kept",
    "PUT soon ttl=5 = ends before anybody reads it",
    f"SET large {LARGE}",
    f"SET large {LARGER}",
    f"PUT raw ttl=1000000000 base64 = {b64encode(RAW).decode()}",
    f"PUT lost ttl=5 = {LARGE}",
    "INCR number 41",
    "INCR number",
    "SET gone 1",
    "DEL gone",
    "BEGIN", "SET one 1", f"SET two {LARGE}", "PUT three ttl=1000000000 = 3", "DEL empty", "COMMIT",
    *(f"SET key{number} value {number}" for number in range(16)),
    "TOUCH late ttl=999999999",
]  # fmt: skip


def main(checkout: Path, number: str) -> None:
    """Write layout-NUMBER.aof.gz and directory-NUMBER.tar.gz beside this file."""
    with tempfile.TemporaryDirectory() as data:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "kvd", "--listen", "127.0.0.1:0", "--data", data, "--log-level", "error"],
            cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout), "KVD_ENGINE": ""}, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert daemon.stdout
        port = int(daemon.stdout.readline().rsplit(b":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as peer, peer.makefile("rb") as lines:
            for request in REQUESTS[:-17]:
                peer.sendall(f"{request}\n".encode())
                sys.stdout.write(lines.readline().decode())
            peer.sendall("".join(f"{request}\n" for request in REQUESTS[-17:]).encode())
            for _ in REQUESTS[-17:]:
                sys.stdout.write(lines.readline().decode())
        daemon.terminate()
        daemon.wait()
        written = (Path(data) / "appendonly.aof").read_bytes()
        with tarfile.open(Path(__file__).parent / f"directory-{number}.tar.gz", "w:gz") as directory:
            for path in sorted(Path(data).iterdir()):
                if path.is_file():
                    directory.add(path, path.name)
    sample = Path(__file__).parent / f"layout-{number}.aof.gz"
    sample.write_bytes(gzip.compress(written, mtime=0))
    sys.stdout.write(f"{sample.name}: {len(written)} bytes, {sample.stat().st_size} compressed\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2])
