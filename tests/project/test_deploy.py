"""deploy/: what is there says of kvd what is so, and the tools that it is for take it, where they are installed."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kvd.addresses import DEFAULT_HTTP_PORT, DEFAULT_PORT
from kvd.errors import REFUSALS
from kvd.metrics import METRICS, Kind
from kvd.process.activation import HTTP, TLS
from kvd.settings import OPTIONS
from tests.support.page import section
from tests.support.processes import ROOT

yaml = pytest.importorskip("yaml")
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "kvd.service"
FILES = [path for path in DEPLOY.rglob("*") if path.is_file()]
EXPOSURE = 2.0
"""Points of `systemd-analyze security` at the most: less is safer, and below 2.5 it says OK."""


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed")
    return found


def test_every_variable_is_an_option() -> None:
    named = {name for path in FILES for name in re.findall(r"\bKVD_[A-Z_]+\b", path.read_text())}
    assert named - {option.variable for option in OPTIONS} == set()


def test_the_units_settings_are_options() -> None:
    given = tomllib.loads((DEPLOY / "systemd" / "kvd.toml").read_text())
    assert given.keys() <= {option.name.removeprefix("--") for option in OPTIONS} - {"config"}


def test_systemd_takes_the_unit(analyze: str, tmp_path: Path) -> None:
    unit = tmp_path / "kvd.service"
    unit.write_text(UNIT.read_text().replace("/opt/kvd/bin/kvd", "/bin/true"))
    done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_takes_the_sockets_and_kvd_knows_their_names(analyze: str, tmp_path: Path) -> None:
    (tmp_path / "kvd.service").write_text(UNIT.read_text().replace("/opt/kvd/bin/kvd", "/bin/true"))
    sockets = [Path(shutil.copy(path, tmp_path)) for path in UNIT.parent.glob("*.socket")]
    done = subprocess.run([analyze, "verify", "--man=no", *sockets], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = {name for path in sockets for name in re.findall("^FileDescriptorName=(.*)", path.read_text(), re.MULTILINE)}
    assert told == {TLS, HTTP}


def test_the_unit_is_closed(analyze: str) -> None:
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", UNIT], capture_output=True, text=True, check=False
    )
    found = re.search(r"Overall exposure level for kvd.service: ([0-9.]+)", done.stdout)
    if not found:
        pytest.skip("this systemd-analyze does not look at files")
    assert float(found[1]) <= EXPOSURE


def test_the_probes_are_paths_and_the_ports_and_users_those_of_the_image() -> None:
    (service, kvd, budget) = documents("kubernetes/kvd.yaml")
    pod = kvd["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert (asked["path"] in ("/healthz", "/readyz"), asked["port"], asked["scheme"]) == (True, "https", "HTTPS")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"kvd": DEFAULT_PORT, "https": DEFAULT_HTTP_PORT}
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == ports
    assert {"name": "KVD_HTTP", "value": f"tls:0.0.0.0:{DEFAULT_HTTP_PORT}"} in container["env"]
    labels = pod["metadata"]["labels"]
    assert service["spec"]["selector"] == labels
    assert kvd["spec"]["selector"]["matchLabels"] == budget["spec"]["selector"]["matchLabels"] == labels
    user = pod["spec"]["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}" in (ROOT / "Dockerfile").read_text()
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    claims = {claim["metadata"]["name"] for claim in kvd["spec"]["volumeClaimTemplates"]}
    assert mounts == claims | {volume["name"] for volume in pod["spec"]["volumes"]}


def test_nothing_but_the_data_is_written() -> None:
    (container,) = documents("kubernetes/kvd.yaml")[1]["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert documents("compose.yaml")[0]["services"]["kvd"]["read_only"]
    assert "ProtectSystem=strict" in UNIT.read_text()


# ---- what watches over it


METERED = re.compile(r"\bkvd_[a-z_]+")
ALERTS = DEPLOY / "prometheus" / "kvd-alerts.yml"
PARTS = {Kind.COUNTER: ("_total",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_sum", "_count"), Kind.TEXT: ()}
"""What follows a metric's name where it is asked for."""


def dashboard() -> list[str]:
    """All that the dashboard asks for."""
    page = json.loads((DEPLOY / "grafana" / "kvd.json").read_text())
    asked = [target["expr"] for panel in page["panels"] for target in panel["targets"]]
    return [*asked, *(variable["query"] for variable in page["templating"]["list"])]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def test_every_metric_that_is_asked_for_is_there() -> None:
    there = {f"{metric.exposed}{part}" for metric in METRICS for part in PARTS[metric.kind]}
    for asked in (*dashboard(), *(rule["expr"] for rule in alerts())):
        assert set(METERED.findall(asked)) <= there, asked


def test_every_label_is_one_of_its_metrics() -> None:
    labels = {label.name for metric in METRICS for label in metric.labels} | {"limit", "instance", "le", "job"}
    for asked in (*dashboard(), *(rule["expr"] for rule in alerts())):
        assert set(re.findall(r"([a-z]+)=~?\"", asked)) <= labels, asked
        assert {name for by in re.findall(r"by \((.*?)\)", asked) for name in by.split(", ")} <= labels, asked


def test_the_page_says_of_each_alert_what_to_do() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for rule in alerts():
        assert f"| `{rule['alert']}` |" in page
        assert rule["annotations"]["what_to_do"] == f"docs/operations.md, {rule['alert']}"


def test_promtool_takes_the_rules_and_the_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    for what, file in (("rules", ALERTS), ("config", DEPLOY / "prometheus" / "prometheus.yml")):
        done = subprocess.run([promtool, "check", what, file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


SLOW_DISK = """
rule_files: [{rules}]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - {{series: 'kvd_sync_duration_seconds_count{{instance="slow"}}', values: '0+10x80'}}
      - {{series: 'kvd_sync_duration_seconds_bucket{{instance="slow",le="0.25"}}', values: '0+8x80'}}
      - {{series: 'kvd_sync_duration_seconds_count{{instance="well"}}', values: '0+10x80'}}
      - {{series: 'kvd_sync_duration_seconds_bucket{{instance="well",le="0.25"}}', values: '0+10x80'}}
    promql_expr_test:
      - expr: sum by (alertname, instance) (ALERTS{{alertstate="firing"}})
        eval_time: 15m
        exp_samples:
          - {{labels: '{{alertname="KvdSlowDisk",instance="slow"}}', value: 1}}
"""


def test_the_alert_of_a_slow_disk_is_for_a_slow_disk(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    (tmp_path / "slow.yml").write_text(SLOW_DISK.format(rules=ALERTS))
    done = subprocess.run(
        [promtool, "test", "rules", tmp_path / "slow.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_has_every_error_and_every_end_of_a_watch() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    ends = re.findall(r"^    ([a-z]+) {2,}", section(8).partition("END position code text")[2], re.MULTILINE)
    assert {"compacted", "store", "shutdown", "denied", "limit", "kicked"} <= set(ends)
    assert [code for code in (*REFUSALS, *ends) if f"| `{code}` |" not in page] == []
