"""What a full run leaves in docs/: benchmarks.md, benchmarks.png and benchmarks.json."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import page, report
from bench.curves import Curve
from bench.measure import Bench, Measured
from bench.others.servers import NotInstalled, find
from kvd import __version__
from kvd.embedded import engines

PROGRAMS = {
    "Debian's Redis": ("redis-server", "--version"),
    "memcached": ("memcached", "--version"),
    "etcd": ("etcd", "--version"),
    "NATS": ("nats-server", "--version"),
}


def write(
    directory: Path, bench: Bench, disk: str, measured: Sequence[Measured], curves: Sequence[Curve]
) -> list[Path]:
    """Write all three; their paths."""
    from bench import chart  # matplotlib, which only this needs, and which takes a second to load

    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"benchmarks.{kind}" for kind in ("md", "png", "json")]
    about = machine(disk)
    paths[0].write_text(page.text(bench.pace, about, measured, curves))
    chart.draw(paths[1], measured)
    paths[2].write_text(json.dumps({"machine": about, **report.raw(measured, curves)}, indent=1) + "\n")
    return paths


def machine(disk: str) -> dict[str, str]:
    """What it ran on, and with which versions."""
    found = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release()}",
        "data": disk,
        "Python": platform.python_version(),
        "kvd": __version__,
        "uvloop": version("uvloop"),
        "hiredis": version("hiredis"),
        "bare Redis": str(engines.choose(os.environ.get("KVD_ENGINE", ""))),
    }
    for name, (program, option) in PROGRAMS.items():
        try:
            found[name] = _first_line([find(program, name), option])
        except NotInstalled:
            found[name] = "not installed"
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _first_line(command: list[str]) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.strip().partition("\n")[0]
