"""To whom a browser thinks that it speaks.  A page of another site may have its own name lead here (DNS rebinding), and
then ask what it likes: on an address of this machine alone, where there may be no users, it is known by that name.
"""

import re
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from kvd.http.messages import HttpError, Request

LOCAL = "localhost"
NO_HOST = re.compile(r"[@/\\?#\s]")
"""What stands in a URL, and in no Host."""


def check(request: Request, names: frozenset[str] | None) -> None:
    """Raises HttpError.  names: that the address has beside its number and localhost, None: any."""
    host = request.headers.get("host", "")
    # Browsers always say to whom they speak.
    if names is not None and host and not _is_here(host, names):
        raise HttpError(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"nobody is called {host!a} here: expected the name of --http, {LOCAL} or an address as the Host",
        )
    origin = request.headers.get("origin")
    if origin and request.method in ("PUT", "DELETE") and _host_of(origin) != host:
        raise HttpError(HTTPStatus.FORBIDDEN, "pages of other sites may not write")


def _host_of(origin: str) -> str | None:
    """That of an Origin, None if it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _is_here(host: str, names: frozenset[str]) -> bool:
    if NO_HOST.search(host):
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == LOCAL or name.endswith("." + LOCAL) or name in names:
        return True
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
