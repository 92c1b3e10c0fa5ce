"""--http: probes, metrics, keys and watches, as curl and Prometheus ask for them."""

import os
import re
import signal
import socket
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kvd.metrics import METRICS, Kind
from tests.support.access import PASSWORD, users_text
from tests.support.daemons import one_each, one_line_error, run_kvd
from tests.support.http_client import Events, ask, port_of, raw, watch
from tests.support.processes import PATIENCE, Daemon, StartDaemon, needs, wait_for
from tests.support.tls import Authority

ALL = "read,write,watch"
HTTP = ("--http", "127.0.0.1:0", "--fsync", "no")
WRITES = (*HTTP, "--http-write")


@pytest.fixture(scope="module")
def open_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One for all tests here that need no other: with --http-write, without users."""
    daemon = Daemon(tmp_path_factory.mktemp("http") / "data", WRITES)
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
def guarded(start_daemon: StartDaemon, tmp_path: Path) -> Daemon:
    """With users, with the unguarded part "pub/"."""
    file = tmp_path / "users.toml"
    rules = {"root": {"*": ALL}, "alice": {"a/*": "read,watch"}, "default": {"pub/*": "read"}}
    file.write_text(users_text(rules))
    return start_daemon(*WRITES, "--users", str(file))


# ---- probes and metrics


def test_probes(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(*HTTP)
    # It says that it is not ready also where the store is only slow to answer.
    wait_for("the store", lambda: ask(daemon, "/readyz").status == 200)
    for path in ("/healthz", "/readyz"):
        answer = ask(daemon, path)
        assert (answer.status, answer.body, answer.headers["cache-control"]) == (200, b"ok\n", "no-store")
        assert ask(daemon, path, "HEAD").body == b""
    os.kill(daemon.redis_pid(), signal.SIGSTOP)
    try:
        assert ask(daemon, "/readyz").status == 503
        assert ask(daemon, "/healthz").status == 200
        # Those that processes count are told all the same.
        assert b"kvd_store_up 0.0" in ask(daemon, "/metrics").body
    finally:
        os.kill(daemon.redis_pid(), signal.SIGCONT)
    wait_for("the store", lambda: ask(daemon, "/readyz").status == 200)


def test_metrics_are_what_prometheus_takes(open_daemon: Daemon) -> None:
    with open_daemon.connect() as peer:
        peer.ask("SET m 1")
        peer.ask("FROB")
    assert ask(open_daemon, "/healthz").status == 200
    answer = ask(open_daemon, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    told = {metric.exposed for metric in METRICS if metric.kind is not Kind.TEXT}
    # There is no certificate, and with --fsync no nothing is synced.
    assert told - families.keys() == {"kvd_certificate_expiry_timestamp_seconds", "kvd_sync_duration_seconds"}
    assert families.keys() - told == {"kvd_build_info"}
    assert all(family.documentation for family in families.values())
    samples = {
        (sample.name, sample.labels.get("verb"), sample.labels.get("result")): sample.value
        for sample in families["kvd_request_duration_seconds"].samples
    }
    assert samples["kvd_request_duration_seconds_count", "SET", "ok"] >= 1
    assert samples["kvd_request_duration_seconds_bucket", "SET", "ok"] >= 1
    codes = {sample.labels["code"]: sample.value for sample in families["kvd_refusals"].samples}
    assert codes["unknown-verb"] >= 1
    assert codes["overflow"] == 0
    assert {sample.labels["status"] for sample in families["kvd_http_requests"].samples} == {"2xx", "3xx", "4xx", "5xx"}
    times = {sample.labels["method"]: sample.value for sample in families["kvd_http_request_duration_seconds"].samples
             if sample.name.endswith("_count")}  # fmt: skip
    assert times["GET"] >= 1
    assert times.keys() <= {"GET", "HEAD", "PUT", "DELETE", "other"}
    openmetrics = ask(open_daemon, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert openmetrics.body.endswith(b"# EOF\n")


def test_whichever_worker_is_asked_tells_of_all(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(*HTTP[:-1], "everysec", "--workers", "2")
    assert b"kvd_sync_duration_seconds_count" in ask(daemon, "/metrics").body
    pings = re.compile(rb'kvd_request_duration_seconds_count\{result="ok",verb="PING"\} ([0-9.]+)')
    with one_each(daemon) as peers:
        before = pings.findall(ask(daemon, "/metrics").body)
        for peer in peers:
            peer.send("PING\n" * 7)
            peer.lines(7)
        for _ in range(6):
            (count,) = pings.findall(ask(daemon, "/metrics").body)
            assert float(count) == sum(map(float, before)) + 14


# ---- keys


def test_a_key_is_read_and_written_with_its_revision(open_daemon: Daemon) -> None:
    path = "/v1/keys/k/%C3%BC%2Fx"
    assert ask(open_daemon, path).status == 404
    new = ask(open_daemon, path, "PUT", b"one", If_None_Match="*")
    assert new.status == 204
    tag = new.headers["etag"]
    with open_daemon.connect() as peer:
        assert peer.ask("GETS k/\u00fc/x") == f"OK {tag.strip(chr(34))} one"
    got = ask(open_daemon, path)
    assert (got.status, got.body, got.headers["etag"]) == (200, b"one", tag)
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert "sandbox" in got.headers["content-security-policy"]
    assert ask(open_daemon, path, If_None_Match=f'"0", {tag}').status == 304
    assert ask(open_daemon, path, If_None_Match='"0"').status == 200
    assert [ask(open_daemon, path, If_Match=match).status for match in (tag, "*", '"0"')] == [200, 200, 412]
    head = ask(open_daemon, path, "HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "3")
    again = ask(open_daemon, path, "PUT", b"two", If_None_Match="*")
    assert (again.status, again.headers["etag"]) == (412, tag)
    binary = ask(open_daemon, path, "PUT", b"\0\n\xff", If_Match=tag)
    assert binary.status == 204
    got = ask(open_daemon, path)
    assert (got.body, got.headers["content-type"]) == (b"\0\n\xff", "application/octet-stream")
    assert ask(open_daemon, path, "DELETE", If_Match=tag).status == 412
    assert ask(open_daemon, path, "DELETE", If_Match=binary.headers["etag"]).status == 204
    assert ask(open_daemon, path, "DELETE").status == 404
    assert ask(open_daemon, path, "PUT", b"x", If_Match=tag).status == 412


@pytest.mark.parametrize(
    "head", [b"If-Match:", b"If-Match: \r\nIf-None-Match: *", b"If-None-Match:", b'If-Match: {}\r\nIf-Match: "1"']
)
def test_a_condition_that_is_none_writes_nothing(open_daemon: Daemon, head: bytes) -> None:
    """An empty one, which a script sends whose variable is, and more than one."""
    assert ask(open_daemon, "/v1/keys/kept", "PUT", b"kept").status == 204
    tag = ask(open_daemon, "/v1/keys/kept").headers["etag"].encode()
    for method in (b"PUT", b"DELETE"):
        line = method + b" /v1/keys/kept HTTP/1.0\r\n"
        assert raw(open_daemon, line + head.replace(b"{}", tag) + b"\r\n\r\n").split(b" ")[1] == b"400"
    assert ask(open_daemon, "/v1/keys/kept").body == b"kept"


def test_times_to_live_and_large_values(open_daemon: Daemon) -> None:
    assert ask(open_daemon, "/v1/keys/t?ttl=100", "PUT", b"x").status == 204
    assert 0 < float(ask(open_daemon, "/v1/keys/t").headers["kvd-ttl"]) <= 100
    assert ask(open_daemon, "/v1/keys/t?ttl=never", "PUT", b"x").status == 400
    large = os.urandom(1024 * 1024)
    assert ask(open_daemon, "/v1/keys/large", "PUT", large).status == 204
    assert ask(open_daemon, "/v1/keys/large").body == large
    assert ask(open_daemon, "/v1/keys/large", "PUT", large + b"x").status == 413


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/keys/%00", 400), ("/v1/keys/", 400), ("/v1/keys/a%20b", 400), ("/v1/keys/%ff", 400),
        ("/v1/keys?limit=0", 400), ("/v1/keys?limit=1001", 400), ("/v1/keys?prefix=a%20b", 400), ("/v1/keys?x=1", 400),
        ("/v1/keys?limit=1&limit=2", 400), ("/v1/keys?%ff=1", 400), ("/v1/watch?pattern=a%20", 400),
        ("/v1/watch?after=7", 400), ("/v1/watch?after=7@nosuch", 410), ("/nothing", 404), ("/v1/keys/a?x=1", 400),
        ("/v1/keys/a%zz", 400), ("/v1/keys/100%", 400), ("/v1/keys/a%2", 400), ("/v1/keys?prefix=%zz", 400),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(open_daemon: Daemon, path: str, status: int) -> None:
    answer = ask(open_daemon, path)
    assert answer.status == status
    assert answer.body.endswith(b"\n")
    assert answer.body.count(b"\n") == 1


def test_pages_are_bounded_and_complete(open_daemon: Daemon) -> None:
    keys = [f"page/{number:04}" for number in range(250)]
    with open_daemon.connect() as peer:
        peer.send("".join(f"SET {key} {key}\n" for key in keys) + "PUT page/0007 base64 = AP8=\n")
        peer.lines(251)
    found, after = [], ""
    for size in (100, 100, 50):
        page = ask(open_daemon, f"/v1/keys?prefix=page/&after={after}").json
        assert len(page["keys"]) == size
        found += page["keys"]
        after = page.get("after", "")
    assert after == ""
    assert [item["key"] for item in found] == keys
    assert found[7]["base64"] == "AP8="
    assert found[8]["value"] == "page/0008"
    assert found[8]["revision"] < int(page["position"].split("@")[0])
    without = ask(open_daemon, "/v1/keys?prefix=page/&limit=1&values=no").json
    assert without["keys"] == [{"key": "page/0000", "revision": found[0]["revision"], "size": 9}]
    with open_daemon.connect() as peer:
        for number in range(8):
            assert peer.ask(f"SET fat/{number} {'x' * 400_000}").startswith("OK ")
    page = ask(open_daemon, "/v1/keys?prefix=fat/").json
    assert (len(page["keys"]), page["after"]) == (3, "fat/2")


def test_without_http_write_nothing_is_written(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(*HTTP)
    for method in ("PUT", "DELETE", "POST", "PATCH", "OPTIONS"):
        answer = ask(daemon, "/v1/keys/a", method, b"x")
        assert (answer.status, "GET" in answer.headers["allow"]) == (405, True)
    assert ask(daemon, "/v1/keys/a").status == 404


# ---- watches


def test_a_watch_is_told_of_changes_and_resumes(open_daemon: Daemon) -> None:
    with open_daemon.connect() as peer, watch(open_daemon, "?pattern=w/*&pattern=other") as events:
        assert events.next().kind == "begin"
        peer.ask("SET w/a <script>")
        peer.ask("PUT w/b base64 = AP8=")
        peer.ask("SET elsewhere x")
        peer.ask("DEL w/a")
        first, second, third = events.next(), events.next(), events.next()
        assert first.data == {"change": "SET", "key": "w/a", "value": "<script>"}
        assert second.data == {"change": "SET", "key": "w/b", "base64": "AP8="}
        assert third.data == {"change": "DEL", "key": "w/a"}
        with watch(open_daemon, "?pattern=w/*", Last_Event_ID=first.id) as again:
            assert again.next() == (("begin"), first.id, {})
            assert [again.next(), again.next()] == [second, third]
        with watch(open_daemon, f"?pattern=w/*&values=no&after={first.id}") as short:
            short.next()
            assert short.next().data == {"change": "SET", "key": "w/b", "size": 2}
        clients = ask(open_daemon, "/v1/clients").json["clients"]
        assert ["w/*", "other"] in [client["watches"] for client in clients]


def test_a_watch_ends_with_the_daemon_as_an_event(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(*HTTP)
    with watch(daemon) as events:
        begin = events.next()
        daemon.stop()
        end = events.next()
        assert (end.kind, end.id, end.data["code"]) == ("end", begin.id, "shutdown")
        assert events.rest() == b""


def test_one_who_does_not_read_is_set_aside_and_catches_up(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(*HTTP, "--watch-buffer", "64KiB")
    with daemon.connect() as peer, watch(daemon) as events:
        events.next()
        for number in range(40):
            peer.ask(f"SET k{number} {'x' * 500_000}")
        wait_for("it to lag", lambda: b"kvd_lagging_watchers 1.0" in ask(daemon, "/metrics").body)
        found = ask(daemon, "/metrics").body.decode()
        held = [line for line in found.splitlines() if line.startswith("kvd_held_memory_bytes ")]
        assert float(held[0].split(" ")[1]) < 4_000_000
        assert [events.next().data["key"] for _ in range(40)] == [f"k{number}" for number in range(40)]


# ---- users


def test_users_come_with_basic_and_their_rights_hold(guarded: Daemon) -> None:
    root, alice = f"root:{PASSWORD}", f"alice:{PASSWORD}"
    assert ask(guarded, "/healthz").status == ask(guarded, "/readyz").status == 200
    for key in ("a/x", "b/x", "pub/x"):
        assert ask(guarded, f"/v1/keys/{key}", "PUT", b"1", user=root).status == 204
        assert ask(guarded, f"/v1/keys/{key}", user=root).status == 200
    assert ask(guarded, "/v1/keys/a/x", user=alice).status == 200
    assert ask(guarded, "/v1/keys/b/x", user=alice).status == 403
    assert ask(guarded, "/v1/keys/a/x", "PUT", b"2", user=alice).status == 403
    assert ask(guarded, "/v1/keys/a/x", "DELETE", user=alice).status == 403
    assert ask(guarded, "/v1/clients", user=alice).status == 403
    assert [item["key"] for item in ask(guarded, "/v1/keys", user=alice).json["keys"]] == ["a/x"]
    # Nobody is who the user default is, and is asked to say who they are for more than that one may.
    assert ask(guarded, "/v1/keys/pub/x").status == 200
    # Before what they send is kept.
    claimed = b"PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: x\r\nContent-Length: 9\r\n\r\n"
    assert raw(guarded, claimed).startswith(b"HTTP/1.1 401 ")
    for path in ("/v1/keys/a/x", "/v1/watch?pattern=pub/*", "/v1/clients"):
        answer = ask(guarded, path)
        assert (answer.status, answer.headers["www-authenticate"][:12]) == (401, "Basic realm=")
    for wrong in ("root:wrong", "nobody:x", "root", "default:x", ":"):
        assert ask(guarded, "/v1/keys/a/x", user=wrong).status in (401, 429)
    assert guarded.says("refused a request of 127.0.0.1:")
    assert guarded.says("denied: ")
    found = ask(guarded, "/metrics", user=root).body.decode()
    assert float(re.findall(r'kvd_refusals_total\{code="denied"\} ([0-9.]+)', found)[0]) >= 4
    for header in ("Bearer x", "Basic", "Basic !", "Basic " + b64encode(b"\xff:x").decode()):
        assert ask(guarded, "/v1/keys/a/x", Authorization=header).status == 401


def test_a_quota_holds_here_too(start_daemon: StartDaemon, tmp_path: Path) -> None:
    file = tmp_path / "users.toml"
    file.write_text(users_text({"alice": {"a/*": f"{ALL},max-keys=1"}}))
    daemon = start_daemon(*WRITES, "--users", str(file))
    alice = f"alice:{PASSWORD}"
    assert ask(daemon, "/v1/keys/a/1", "PUT", b"1", user=alice).status == 204
    answer = ask(daemon, "/v1/keys/a/2", "PUT", b"2", user=alice)
    assert (answer.status, answer.body[:7]) == (429, b"limit: ")
    assert b'kvd_limited_total{limit="quota"} 1.0' in ask(daemon, "/metrics", user=alice).body


def test_a_watch_ends_when_its_user_may_no_more(start_daemon: StartDaemon, tmp_path: Path) -> None:
    file = tmp_path / "users.toml"
    file.write_text(users_text({"root": {"*": ALL}, "alice": {"a/*": ALL}}))
    daemon = start_daemon(*HTTP, "--users", str(file))
    assert ask(daemon, "/metrics").status == ask(daemon, "/").status == 401
    with watch(daemon, "?pattern=a/*", user=f"alice:{PASSWORD}") as events:
        events.next()
        file.write_text(users_text({"root": {"*": ALL}}))
        daemon.kill(signal.SIGHUP)
        end = events.next()
        assert (end.kind, end.data["code"]) == ("end", "denied")


# ---- who is let in


def test_other_machines_need_tls_and_users(tmp_path: Path) -> None:
    error = one_line_error(run_kvd("--http", "0.0.0.0:0", "--data", str(tmp_path / "d")))
    assert "--http 0.0.0.0:0: other machines can reach it; expected TLS: --http tls:" in error
    assert "--users FILE" in error
    error = one_line_error(run_kvd("--http-write", "--data", str(tmp_path / "d")))
    assert error.endswith("--http-write: expected --http ADDR beside it")
    error = one_line_error(run_kvd("--http", "tls:127.0.0.1:0", "--data", str(tmp_path / "d")))
    assert "--tls-cert FILE" in error


def test_it_takes_tls(start_daemon: StartDaemon, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    cert, key = authority.sign("localhost")
    daemon = start_daemon("--http", "tls:127.0.0.1:0", "--tls-cert", str(cert), "--tls-key", str(key))
    connection = HTTPSConnection("localhost", port_of(daemon), timeout=PATIENCE, context=authority.client())
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    assert response.status == 200
    assert b"kvd_certificate_expiry_timestamp_seconds" in response.read()
    connection.close()
    with pytest.raises((ssl.SSLError, OSError)):
        HTTPSConnection("localhost", port_of(daemon), context=ssl.create_default_context()).connect()


def test_pages_of_other_sites_get_nothing(open_daemon: Daemon) -> None:
    """A name of theirs may lead here, and what a browser sends for them says where it comes from."""
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "evil.example@localhost", "localhost/a"):
        assert ask(open_daemon, "/v1/keys", Host=host).status in (400, 421)
    for host in ("localhost", "127.0.0.1:1234", "[::1]:80", "a.localhost"):
        assert ask(open_daemon, "/v1/keys", Host=host).status == 200
    assert ask(open_daemon, "/v1/keys/csrf", "PUT", b"x", Origin="https://evil.example").status == 403
    for origin in ("null", "http://[", "http://[evil]"):
        assert ask(open_daemon, "/v1/keys/csrf", "PUT", b"x", Origin=origin).status == 403
    assert "access-control-allow-origin" not in ask(open_daemon, "/v1/keys", Origin="https://evil.example").headers
    own = f"127.0.0.1:{port_of(open_daemon)}"
    assert ask(open_daemon, "/v1/keys/csrf", "PUT", b"x", Origin=f"http://{own}").status == 204


def test_without_the_packages_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("h11", "prometheus_client"):
        hidden = tmp_path / module / "sitecustomize.py"
        hidden.parent.mkdir()
        hidden.write_text(
            "import importlib.util as util\nfind = util.find_spec\n"
            f"util.find_spec = lambda name, *rest: None if name == {module!r} else find(name, *rest)\n"
        )
        options = ("--http", "127.0.0.1:0", "--data", str(tmp_path / "data"))
        monkeypatch.setenv("PYTHONPATH", str(hidden.parent))
        error = one_line_error(run_kvd(*options))
        assert error.endswith("in a checkout of it with pip install '.[http]'")


# ---- hostile clients


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"SET a 1\r\n\r\n", 400), (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET / HTTP\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n", 413),
        (b"PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
        (b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
        (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        # Whole, and yet too long.
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 3000 + b"\r\n", 431),
        (b"HEAD /v1/watch HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"OPTIONS /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", 405),
        (b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    ],
)  # fmt: skip
def test_what_is_no_http_is_refused_and_the_daemon_goes_on(open_daemon: Daemon, data: bytes, status: int) -> None:
    answer = raw(open_daemon, data)
    assert answer.split(b" ")[1] == b"%d" % status, answer
    assert ask(open_daemon, "/healthz").status == 200


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"FOO\r\n\r\n", "this is no HTTP: illegal request line"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nb\xff d\r\n\r\n", "this is no HTTP: illegal header line"),
        (b"GET /" + b"x" * 200_000, "the request's line and its headers have 16384 bytes at most"),
        (b"GET /v1/keys?prefix=%ff HTTP/1.0\r\n\r\n", "usage: what comes after the ? is not UTF-8"),
        (b"GET /v1/keys?x HTTP/1.0\r\n\r\n", "usage: what comes after the ? is not name=value&name=value, "),
        (b"GET /v1/keys?prefix=a* HTTP/1.0\r\n\r\n", "bad-key: prefix= is what keys begin with, "),
        (b"GET /v1/keys?limit=x HTTP/1.0\r\n\r\n", "usage: limit= is 1 to 1000"),
        (b"GET /v1/clients?after=x HTTP/1.0\r\n\r\n", "usage: after= is the id of a connection, "),
        (b"PUT /v1/keys/a HTTP/1.0\r\nIf-Match: x\r\n\r\n", "usage: expected one ETag in If-Match"),
        (b"PUT /v1/keys/a?ttl= HTTP/1.0\r\n\r\n", "usage: ttl= is empty"),
        (b"GET /v1/watch?after= HTTP/1.0\r\n\r\n", "usage: after= is empty"),
        (b"GET /v1/watch?after=9999@zzz HTTP/1.0\r\n\r\n", "store: the history is that of "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_words(open_daemon: Daemon, head: bytes, said: str) -> None:
    body = raw(open_daemon, head).partition(b"\r\n\r\n")[2].decode()
    assert body.startswith(said)
    assert not re.search(r"bytearray|codec|b'|SYNC|pattern", body)
    assert ("read /v1/keys anew" in body) == said.startswith("store:")


def test_requests_follow_each_other_on_one_connection(open_daemon: Daemon) -> None:
    put = b"PUT /v1/keys/p HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    get = b"GET /v1/keys/p HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = raw(open_daemon, put + get + put + get)
    assert answer.count(b"HTTP/1.1 204 ") == answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.count(b"\r\n\r\nabc") == 2


def test_bodies_that_do_not_end_are_bounded(open_daemon: Daemon) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    head = b"PUT /v1/keys/p HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port_of(open_daemon)), timeout=PATIENCE) as connection:
        connection.sendall(head)
        answer = b""
        with suppress(OSError):
            for _ in range(1000):
                connection.sendall(chunk)
        with suppress(ConnectionResetError):
            answer = connection.recv(100)
        assert answer.startswith(b"HTTP/1.1 413 ") or not answer


def test_100_continue(open_daemon: Daemon) -> None:
    with socket.create_connection(("127.0.0.1", port_of(open_daemon)), timeout=PATIENCE) as connection:
        connection.sendall(
            b"PUT /v1/keys/c HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"x")
        assert connection.recv(1000).startswith(b"HTTP/1.1 204 ")
    # Nobody is asked for a body that is not for them to send.
    refused = b"PUT /v1/keys/c HTTP/1.1\r\nHost: evil.example\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
    assert raw(open_daemon, refused).startswith(b"HTTP/1.1 421 ")


def test_one_who_sends_slowly_is_not_waited_for(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(*WRITES, "--line-time", "0.3")
    put = b"PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"
    for data in (b"GET /healthz HTTP/1.1\r\nHost:", put):
        with socket.create_connection(("127.0.0.1", port_of(daemon)), timeout=PATIENCE) as connection:
            connection.sendall(data)
            answer = b""
            while piece := connection.recv(1000):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert answer.endswith(b"the request took too long\n")


def test_those_who_do_not_read_hold_no_more_than_they_may(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(*WRITES, "--connection-memory", "20MiB", "--max-value", "8MiB")
    assert ask(daemon, "/v1/keys/large", "PUT", os.urandom(8 * 1024 * 1024)).status == 204
    limited = re.compile(rb'kvd_limited_total\{limit="memory"\} ([0-9.]+)')
    held = re.compile(rb"kvd_held_memory_bytes ([0-9.e+]+)")
    with ExitStack() as stack:
        for _ in range(6):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", port_of(daemon)))
            connection.sendall(b"GET /v1/keys/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for("somebody to be ended", lambda: float(limited.findall(ask(daemon, "/metrics").body)[0]) >= 4)
        wait_for("the budget", lambda: float(held.findall(ask(daemon, "/metrics").body)[0]) <= 20 * 1024 * 1024)
    ended = [line for line in daemon.log.splitlines() if "(--connection-memory), and this one the most" in line]
    assert ended
    assert all(re.search(r" connection=[0-9]+-[0-9]+$", line) for line in ended), "kvctl clients shows this"


def test_a_unix_socket_knows_its_user(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """The daemon's own may do everything."""
    needs("curl")
    file, place = tmp_path / "users.toml", tmp_path / "http.sock"
    file.write_text(users_text({"alice": {"a/*": ALL}}))
    start_daemon("--http", f"unix:{place}", "--http-write", "--users", str(file))
    curl = ["curl", "-s", "--unix-socket", str(place), "http://any.example/v1/keys/b"]
    subprocess.run([*curl, "-X", "PUT", "-d", "1"], check=True, timeout=PATIENCE)
    assert subprocess.run(curl, check=True, timeout=PATIENCE, capture_output=True).stdout == b"1"


def test_connections_of_an_address_are_limited_here_too(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(*HTTP, "--address-connections", "2")
    with watch(daemon) as one, watch(daemon) as two:
        assert isinstance(one, Events)
        assert isinstance(two, Events)
        answer = ask(daemon, "/healthz")
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")


def test_kick_ends_a_watch(open_daemon: Daemon) -> None:
    with open_daemon.connect() as peer, watch(open_daemon, "?pattern=kicked") as events:
        events.next()
        clients = ask(open_daemon, "/v1/clients").json["clients"]
        (mine,) = [client for client in clients if client["watches"] == ["kicked"]]
        assert peer.ask(f"KICK {mine['id']}") == "OK"
        assert events.next().data["code"] == "kicked"
        assert open_daemon.says(": an administrator has ended this connection")
