"""docs/http.md: its commands give what is shown, and it names metrics and paths that there are."""

import os
import re
import subprocess
from pathlib import Path

from kvd.metrics import METRICS, Kind
from tests.support.http_client import port_of
from tests.support.processes import ROOT, StartDaemon, needs

PAGE = (ROOT / "docs" / "http.md").read_text()
SHOWN = re.findall(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", PAGE, re.DOTALL)


def test_the_commands_give_what_is_shown(start_daemon: StartDaemon, tmp_path: Path) -> None:
    needs("curl")
    daemon = start_daemon("--http", "127.0.0.1:0", "--http-write")
    assert len([output for _, output in SHOWN if output]) == 3
    for commands, output in SHOWN:
        script = commands.replace("localhost:5880", f"127.0.0.1:{port_of(daemon)}")
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False,
                              cwd=tmp_path, env=os.environ | {"no_proxy": "*"})  # fmt: skip
        if output:
            wanted = re.escape(output).replace(r"\.\.\.", "[0-9a-f]+")
            assert re.fullmatch(wanted, done.stdout.replace("\r", "")), done.stdout


def test_it_names_metrics_that_there_are() -> None:
    told = {
        metric.exposed + ("_total" if metric.kind is Kind.COUNTER else "")
        for metric in METRICS
        if metric.kind is not Kind.TEXT
    }
    named = set(re.findall(r"`(kvd_[a-z_]+)", PAGE))
    assert named - {"kvd_", "kvd_build_info"} <= told
