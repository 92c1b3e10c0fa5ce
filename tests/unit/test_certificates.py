"""Certificates as files: what can be used, and what is said of what cannot."""

import logging
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from kvd import certificates
from kvd.certificates import LARGEST, name_in
from kvd.errors import StartError
from tests.support.processes import PATIENCE, needs
from tests.support.tls import HOST, Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def signed(authority: Authority) -> tuple[str, str]:
    cert, key = authority.sign(HOST)
    return str(cert), str(key)


def test_what_fits_is_read(authority: Authority, signed: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    context = certificates.read(*signed, "").context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert certificates.read(*signed, str(authority.file)).context().verify_mode == ssl.CERT_REQUIRED
    assert not caplog.records


def test_one_file_may_hold_both(signed: tuple[str, str], tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.touch(0o600)
    both.write_text("".join(Path(one).read_text() for one in signed))
    assert certificates.read(str(both), str(both), "").context()


def test_a_key_that_everybody_may_read_is_told_of(
    signed: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(Path(signed[1]).read_bytes())
    key.chmod(0o644)
    certificates.read(signed[0], str(key), "")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"--tls-key: everybody on this machine may read or write {str(key)!r}")


def test_what_cannot_be_used_is_named(authority: Authority, signed: tuple[str, str], tmp_path: Path) -> None:
    cert, key = signed
    _, other = map(str, authority.sign("elsewhere.example"))
    empty, garbage, large = (tmp_path / name for name in ("empty", "garbage", "large"))
    empty.touch()
    garbage.write_bytes(b"\xff\xfe garbage")
    large.write_bytes(b"#" * (LARGEST + 1))
    wrong = [
        ((str(tmp_path / "absent"), key, ""), "--tls-cert: cannot read .*absent': No such file or directory"),
        ((str(tmp_path), key, ""), "--tls-cert: cannot read .*: Is a directory"),
        ((cert, "nul\0", ""), "--tls-key: cannot read .*: embedded null byte"),
        ((str(empty), key, ""), "--tls-cert: .*empty' has no or too much text; expected a PEM file"),
        ((cert, str(large), ""), "--tls-key: .*large' has no or too much text"),
        ((cert, other, ""), "--tls-cert .* and --tls-key .* cannot be used: key values mismatch; expected PEM"),
        ((cert, cert, ""), "--tls-cert .* and --tls-key .* cannot be used: "),
        ((str(garbage), key, ""), "--tls-cert .* and --tls-key .* cannot be used: "),
        ((cert, str(garbage), ""), "--tls-cert .* and --tls-key .* cannot be used: "),
        ((cert, key, str(tmp_path / "absent")), "--tls-client-ca: cannot read"),
        ((cert, key, str(garbage)), "--tls-client-ca: .*garbage' cannot be used: "),
        ((cert, key, key), "--tls-client-ca: .* cannot be used: "),
    ]
    for given, said in wrong:
        with pytest.raises(StartError, match=f"^{said}"):
            certificates.read(*given)


@pytest.mark.parametrize("form", [[], ["-traditional"]], ids=["pkcs8", "traditional"])
def test_a_passphrase_is_not_asked_for(signed: tuple[str, str], tmp_path: Path, form: list[str]) -> None:
    needs("openssl")
    key = tmp_path / "key.pem"
    command = ["openssl", "pkey", "-in", signed[1], "-aes256", "-passout", "pass:sesame", "-out", str(key), *form]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    with pytest.raises(StartError, match=r"^--tls-key: .* has a passphrase, which nobody could give; expected a key"):
        certificates.read(signed[0], str(key), "")


class Peer:
    """What is known of a client."""

    def __init__(self, *names: str, reused: bool = False, until: str = "Jan  1 00:00:00 2100 GMT") -> None:
        self.session_reused = reused
        self._known = {"subject": tuple((("commonName", name),) for name in names), "notAfter": until}

    def getpeercert(self) -> Mapping[str, object]:
        return self._known


def name_of(peer: Peer) -> str | None:
    return name_in(peer)  # type: ignore[arg-type]


def test_only_one_name_is_a_name() -> None:
    assert name_of(Peer("Ada Lovelace")) == "Ada Lovelace"
    assert name_of(Peer()) is None
    assert name_of(Peer("ada", "root")) is None


@pytest.mark.parametrize("names", [("ada\0",), ("ada", "root\n"), ("\u202eada",), ("ada\u2028",)])
def test_a_name_that_misleads_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="has a character that cannot be shown"):
        name_of(Peer(*names))


def test_who_resumes_a_session_is_refused_when_its_certificate_has_expired() -> None:
    assert name_of(Peer("ada", reused=True)) == "ada"
    with pytest.raises(ValueError, match="expired"):
        name_of(Peer("ada", reused=True, until="Jan  1 00:00:00 2020 GMT"))
