"""An address that other machines can reach needs TLS, and users or certificates of clients."""

from contextlib import nullcontext

import pytest

from kvd import exposure
from kvd.addresses import Address, UnixAddress
from kvd.errors import StartError
from kvd.settings import Settings, read

FILES = {"--tls-cert": "c", "--tls-key": "k"}
REACHABLE = [
    "0.0.0.0", "[::]", "192.0.2.1", "[2001:db8::1]", "[fe80::1%1]", "126.0.0.1", "128.0.0.1",  # noqa: S104
    "[::ffff:192.0.2.1]",
    "0:1", "[::ffff:0.0.0.0]",
]  # fmt: skip
OWN = ["127.0.0.1", "127.255.255.254", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433:1"]


def settings(*listen: str, **more: object) -> Settings:
    given = {f"--{name.replace('_', '-')}": value for name, value in more.items()}
    return read({"--listen": list(listen), **FILES, **given}, {})


@pytest.mark.parametrize("host", OWN)
def test_what_only_this_machine_reaches_needs_nothing(host: str) -> None:
    exposure.check(settings(host))
    exposure.check(settings("unix:/a"))


@pytest.mark.parametrize("host", REACHABLE)
@pytest.mark.parametrize(
    ("prefix", "more", "missing"),
    [
        ("", {}, r"TLS: --listen tls:\S+ with --tls-cert FILE and --tls-key FILE, and users \(--users FILE\) or cert"),
        ("", {"users": "u"}, r"TLS: --listen tls:\S+ with --tls-cert FILE and --tls-key FILE; or --insecure"),
        ("", {"tls_client_ca": "ca"}, r"TLS: .*, and users \(--users FILE\) or certificates of clients"),
        ("tls:", {}, r"expected users \(--users FILE\) or certificates of clients \(--tls-client-ca FILE\); or --ins"),
        ("tls:", {"users": "u"}, ""),
        ("tls:", {"tls_client_ca": "ca"}, ""),
        ("tls:", {"users": "u", "tls_client_ca": "ca"}, ""),
        ("", {"insecure": True}, ""),
        ("tls:", {"insecure": True}, ""),
    ],
)
def test_what_others_reach_needs_both(host: str, prefix: str, more: dict[str, object], missing: str) -> None:
    wanted = pytest.raises(StartError, match=rf"^--listen {prefix}.*: other machines can reach it; .*{missing}")
    with wanted if missing else nullcontext():
        exposure.check(settings("127.0.0.1:1", f"{prefix}{host}", **more))


def test_what_was_found_is_looked_at_again() -> None:
    """A name may have got another address meanwhile; and one that has none is left to who listens."""
    exposure.check(settings("no-such-host.invalid"))
    exposure.check_bound(settings("localhost"), [Address("::1", 1), UnixAddress("/a"), Address("127.0.0.1", 1)])
    with pytest.raises(StartError, match=r"^--listen 192\.0\.2\.1:1: other machines can reach it"):
        exposure.check_bound(settings("localhost"), [Address("127.0.0.1", 1), Address("192.0.2.1", 1)])
    exposure.check_bound(settings("localhost", insecure=True), [Address("192.0.2.1", 1)])
