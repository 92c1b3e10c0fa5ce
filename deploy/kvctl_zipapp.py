#!/usr/bin/env python3
"""Make kvctl as one file, which any Python from 3.11 on runs with nothing installed: deploy/kvctl_zipapp.py [FILE].

In it are kvctl, the client, and the packages that kvctl's commands need and that are Python alone, as this Python has
them.  What is compiled is not: kvctl user needs argon2-cffi for passwords, kvctl import --from redis the package redis.
"""

import importlib.metadata
import shutil
import sys
import tempfile
import zipapp
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = ("access", "cli", "client", "process", "requests", "wire")
"""Packages of kvd, beside the modules at its top.  Of `process` the client has what both ends of TLS share."""
PACKAGES = ("docopt-ng", "prompt-toolkit", "wcwidth", "rich", "pygments", "markdown-it-py", "mdurl", "tomlkit")
PROGRAM = "import sys\n\nfrom kvd.cli.main import main\n\nsys.exit(main())\n"
LEFT_OUT = {"__main__.py", "daemon.py", "server.py", "admission.py", "service.py", "exposure.py", "reloadable.py"}
"""Of kvd: the daemon."""


def add_kvd(to: Path) -> None:
    """kvctl and what it imports of kvd."""
    ignored = shutil.ignore_patterns("__pycache__")
    (to / "kvd").mkdir()
    for module in (ROOT / "kvd").glob("*.py"):
        if module.name not in LEFT_OUT:
            shutil.copy(module, to / "kvd")
    shutil.copy(ROOT / "kvd" / "protocol.txt", to / "kvd")
    for name in MODULES:
        shutil.copytree(ROOT / "kvd" / name, to / "kvd" / name, ignore=ignored)
    shutil.copy(ROOT / "LICENSE", to)


def add_package(name: str, to: Path) -> None:
    """The modules of an installed package, with what says its version and licence."""
    for file in importlib.metadata.files(name) or ():
        if ".." in file.parts or "__pycache__" in file.parts or file.suffix in (".so", ".pyi"):
            continue
        place = to / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(file.locate()), place)


def main() -> None:
    """Write it."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist" / "kvctl")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        add_kvd(Path(directory))
        for name in PACKAGES:
            add_package(name, Path(directory))
        (Path(directory) / "__main__.py").write_text(PROGRAM)
        zipapp.create_archive(directory, target, "/usr/bin/env python3", compressed=True)
    sys.stdout.write(f"{target}: {target.stat().st_size / 1024 / 1024:.1f} MiB\n")


if __name__ == "__main__":
    main()
