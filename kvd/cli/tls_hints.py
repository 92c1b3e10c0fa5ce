"""What to do where TLS, or the want of it, keeps kvctl from a daemon: OpenSSL says only what was wrong."""

import re
import ssl
from contextlib import suppress

from kvd import validity
from kvd.cli.output import say
from kvd.client import Unreachable
from kvd.client.dialing import parse_target
from kvd.errors import Refusal
from kvd.opening import open_file

MOST_BYTES = 1 << 20
"""Of a file of certificates that is looked at."""
PATIENCE = 5
"""Seconds for a look at a certificate that was refused."""
NO_TLS = "without --tls, --ca, --cert and --key, and without tls: in --addr, kvctl speaks none"
TAKE_TLS = "--tls speaks TLS, with --ca FILE if this machine does not know who has signed the daemon's certificate"
PLAIN_TO_TLS = "this address takes TLS only"
"""What a daemon says then."""

_HINTS = (
    ("wrong version number|record|http request|packet length", f"what answers there speaks no TLS; {NO_TLS}"),
    ("self-signed|unable to (get|verify)", "who has signed it is not known here; name whom you trust with --ca FILE"),
    ("mismatch", "expected one for the host in --addr; name the host there as the certificate does"),
    (
        "alert (certificate required|handshake failure)",
        "the daemon wants a certificate of yours: --cert FILE --key FILE",
    ),
    ("alert certificate expired", "your certificate, that of --cert, has expired"),
    (
        "alert (unknown ca|bad certificate|unsupported certificate|certificate unknown|certificate revoked|access)",
        "the daemon does not take your certificate, that of --cert; expected one that its --tls-client-ca has signed",
    ),
    ("protocol", "kvctl speaks TLS 1.2 and 1.3"),
)
"""By what OpenSSL says."""
_NOT_NOW = re.compile("certificate (has expired|is not yet valid)")


def hint(error: Unreachable | Refusal) -> str:
    """What to do, "" if TLS has nothing to do with it."""
    text = str(error)
    if isinstance(error, Refusal):
        return TAKE_TLS if text.startswith(PLAIN_TO_TLS) else ""
    if not error.tls:
        is_strange = "(it hangs up;" in text or "(it does not answer as kvd does)" in text
        return f"if it takes TLS: {TAKE_TLS}" if is_strange else ""
    if "(no answer within" in text or "timed out" in text:
        return f"if it takes no TLS: {NO_TLS}"
    if "no TLS: " not in text:
        return ""
    reason = text.partition("no TLS: ")[2]
    if _NOT_NOW.search(reason):
        return _not_now(error.address)
    return next((what for said, what in _HINTS if re.search(said, reason)), "")


def look_at(cert: str) -> None:
    """Say so if one's own certificate is not valid: who refuses it does not say when it was.  The daemon decides."""
    with suppress(OSError, ValueError, IndexError):  # what is no certificate is refused by who uses it
        with open_file(cert) as file:
            begin, end = own = validity.validities(file.read(MOST_BYTES))[0]
        if not begin <= validity.now() <= end:
            say(f"--cert: the certificate {own.complaint(validity.now())}")


def _not_now(address: str) -> str:
    """When the daemon's certificate is valid: OpenSSL does not show one that it refuses, so it is asked for again."""
    with suppress(OSError, ValueError, IndexError):
        target = parse_target(address)
        pem = ssl.get_server_certificate((target.host, target.port), timeout=PATIENCE)
        if complaint := validity.validities(pem.encode())[0].complaint(validity.now()):
            return f"the daemon's certificate {complaint}"
    return "that of the daemon, or of who has signed it; is this machine's clock right?"
