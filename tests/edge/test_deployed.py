"""deploy/edges.yaml: its daemons, started as they stand there, are a root and edges of it."""

import re

import pytest

from tests.support.processes import ROOT, Daemon, StartDaemon

yaml = pytest.importorskip("yaml")
VARIABLE = re.compile(r"^(?:ENV)? *(KVD_[A-Z_]+)=\"?([^\"\\\n]*?)\"? *\\?$", re.MULTILINE)
OF_THE_CONTAINER = ("--listen", "--data")
"""What a test gives itself."""


def test_the_compose_file_is_a_root_and_its_edges(start_daemon: StartDaemon) -> None:
    services = yaml.safe_load((ROOT / "deploy/edges.yaml").read_text())["services"]
    started: dict[str, Daemon] = {}
    image = dict(VARIABLE.findall((ROOT / "Dockerfile").read_text()))
    assert {"KVD_DATA", "KVD_USERS", "KVD_TLS_CERT"} <= image.keys()
    for name, service in services.items():
        assert set(service.get("depends_on", [])) <= started.keys(), "upstreams stand before those that follow them"
        words = list(service["command"])
        for option in OF_THE_CONTAINER:
            if option in words:
                place = words.index(option)
                del words[place : place + 2]
        named = [re.sub(r"^(\w+):5830$", lambda one: started[one[1]].addr, word) for word in words]
        started[name] = start_daemon(*named, **image | service["environment"])
    with started["root"].connect() as writer, started["edge-1"].connect() as one, started["edge-2"].connect() as other:
        assert one.ask("WATCH") == other.ask("WATCH")
        assert writer.ask("SET a 1") == "OK 1"
        assert one.line() == other.line()
        other.send("SET a 2\n")
        change = one.line()
        assert change.startswith("CHANGE 2@")
        assert sorted(other.lines(2)) == sorted([change, "OK 2"])
