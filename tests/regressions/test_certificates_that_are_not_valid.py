"""A certificate that has expired, is not valid yet, or soon no more, and TLS options that nothing uses, are told of.

Reported: the daemon served all of them without a word, and kvctl did not say since when.
"""

import logging
import os
import shutil
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kvd import certificates
from kvd.settings import read, unused
from kvd.validity import validities
from tests.support import tls
from tests.support.kvctl import run
from tests.support.processes import StartDaemon
from tests.support.tls import HOST, Authority

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
FAR = NOW + 30 * 365 * DAY
"""Beyond 2049 dates are written in another way."""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def signed(authority: Authority, begin: datetime, end: datetime) -> tuple[str, str]:
    cert, key = authority.sign(HOST, begin=begin, end=end)
    return str(cert), str(key)


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [
        (NOW - 9 * DAY, NOW - DAY, "the certificate has expired: it was valid until {end:%Y-%m-%d %H:%M} UTC"),
        (NOW + DAY, FAR, "the certificate is not yet valid: it will be from {begin:%Y-%m-%d %H:%M} UTC on"),
        (NOW - DAY, NOW + 13.5 * DAY, "the certificate expires soon: it is valid until 2"),
        (NOW - DAY, NOW + 14.5 * DAY, ""),
        (NOW - DAY, FAR, ""),
    ],
)
def test_it_is_told_with_its_date(
    authority: Authority, begin: datetime, end: datetime, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    pair = signed(authority, begin, end)
    assert (begin, end) == validities(Path(pair[0]).read_bytes())[0]
    certificates.read(*pair, "").warn()
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == bool(said)
    assert not said or lines[0].startswith(f"--tls-cert: {said.format(begin=begin, end=end)}")


def test_so_are_those_that_vouch_for_it_and_for_clients(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = signed(authority, NOW - DAY, FAR)
    chain, bundle = tmp_path / "chain.pem", tmp_path / "bundle.pem"
    chain.write_bytes(Path(good[0]).read_bytes())
    old = Path(signed(authority, NOW - 9 * DAY, NOW - DAY)[0]).read_bytes()
    key = authority.directory / "chain.key"
    good = signed(authority, NOW - DAY, FAR)
    shutil.copy(good[1], key)
    chain.write_bytes(Path(good[0]).read_bytes() + old)
    bundle.write_bytes(old + authority.file.read_bytes())
    certificates.read(str(chain), str(key), str(bundle)).warn()
    (record,) = caplog.records
    assert "certificate 2, which vouches for it, has expired" in record.getMessage()
    caplog.clear()
    bundle.write_bytes(old)
    certificates.Certificates(b"", b"", bundle.read_bytes()).warn()
    (record,) = caplog.records
    assert record.getMessage().startswith("--tls-client-ca: the certificate has expired")


def test_what_is_no_certificate_has_no_dates() -> None:
    for inside in (b"", b"!!!!", b"AAAA", b"MAMCAQE=", b"MIIB"):
        pem = b"-----BEGIN CERTIFICATE-----\n" + inside + b"\n-----END CERTIFICATE-----\n"
        with pytest.raises(ValueError, match=r"."):
            validities(pem)
    assert validities(b"none") == []


def test_a_daemon_tells_at_its_start_and_when_it_reads_them_anew(
    authority: Authority, start_daemon: StartDaemon
) -> None:
    old = signed(authority, NOW - 9 * DAY, NOW - DAY)
    daemon = start_daemon(*tls.options((Path(old[0]), Path(old[1]))))
    until = f"{NOW - DAY:%Y-%m-%d %H:%M} UTC"
    assert f"WARNING kvd: --tls-cert: the certificate has expired: it was valid until {until}" in daemon.log
    refused = run("--addr", f"localhost:{tls.port_of(daemon)}", "--ca", str(authority.file), "ping")
    assert refused.returncode == 3
    assert f"the daemon's certificate has expired: it was valid until {until}\n" in refused.stderr.decode()
    signed(authority, NOW - DAY, NOW + 3 * DAY)
    os.kill(daemon.pid, signal.SIGHUP)
    assert daemon.says("WARNING kvd: --tls-cert: the certificate expires soon: it is valid until ")


def test_options_that_nothing_uses_are_told_of(authority: Authority, start_daemon: StartDaemon) -> None:
    cert, key = map(str, authority.sign(HOST))
    daemon = start_daemon(KVD_TLS_CERT=cert, KVD_TLS_KEY=key)
    said = "no address takes TLS, so --tls-cert, --tls-key is of no use: expected --listen tls:HOST:PORT as well"
    assert f"WARNING kvd: {said}" in daemon.log
    assert unused(read({}, {})) == ""
    assert unused(read({"--listen": ["tls:127.0.0.1:0"], "--tls-cert": cert, "--tls-key": key}, {})) == ""
    assert "--tls-client-ca is of no use" in unused(read({"--tls-client-ca": cert}, {}))
