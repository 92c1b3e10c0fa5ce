"""From when to when certificates are valid, which Python's ssl tells of none that it does not trust."""

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

SOON = timedelta(days=14)
"""Before its end a certificate is to be renewed: time for people to do it, and less than automatic renewal leaves."""

_PEM = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.*?)-----END", re.DOTALL)
_VERSION, _UTC_TIME, _TIME = 0xA0, 0x17, 0x18
"""Tags of DER (X.690) as certificates have them (RFC 5280)."""
_FORMATS = {_UTC_TIME: "%y%m%d%H%M%SZ", _TIME: "%Y%m%d%H%M%SZ"}


class Validity(NamedTuple):
    """begin, end: of the time in which a certificate is valid, in UTC."""

    begin: datetime
    end: datetime

    def complaint(self, now: datetime) -> str:
        """What is wrong with it at a time, or will be soon; "" if nothing is."""
        if now < self.begin:
            return f"is not yet valid: it will be from {shown(self.begin)} on; is this machine's clock right?"
        if now > self.end:
            return f"has expired: it was valid until {shown(self.end)}"
        if now > self.end - SOON:
            left = self.end - now
            return f"expires soon: it is valid until {shown(self.end)}, {left / timedelta(days=1):.1f} days from now"
        return ""


def shown(time: datetime) -> str:
    """A time for people."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def validities(pem: bytes) -> list[Validity]:
    """Those of all certificates in a text, in its order.  Raises ValueError: there is something else in one."""
    try:
        return [_validity(base64.b64decode(match[1])) for match in _PEM.finditer(pem)]
    except (LookupError, TypeError) as error:
        raise ValueError("not a certificate") from error


def _validity(der: bytes) -> Validity:
    (_, certificate), *_ = _elements(der)
    (_, signed), *_ = _elements(certificate)
    fields = [content for tag, content in _elements(signed) if tag != _VERSION]
    # After the serial number, the algorithm and the issuer.
    begin, end = (_time(tag, content) for tag, content in _elements(fields[3]))
    return Validity(begin, end)


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and the content of each."""
    while der:
        tag, length, start = der[0], der[1], 2
        if length & 0x80:  # so many bytes hold the length
            start += length & 0x7F
            length = int.from_bytes(der[2:start])
        yield tag, der[start : start + length]
        der = der[start + length :]


def _time(tag: int, content: bytes) -> datetime:
    return datetime.strptime(content.decode(), _FORMATS[tag]).replace(tzinfo=UTC)
