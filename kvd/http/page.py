"""The live page: one file, which asks nobody but this daemon; a browser runs nothing in it that is not in the file."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from kvd.http.messages import Response

HTML = "text/html; charset=utf-8"
_PARTS = {"script-src": rb"<script>(.*?)</script>", "style-src": rb"<style>(.*?)</style>"}


@cache
def response() -> Response:
    """The page, with a policy that names its script and its style by their digests."""
    body = files("kvd.http").joinpath("page.html").read_bytes()
    allowed = "; ".join(f"{what} {_digests(part, body)}" for what, part in _PARTS.items())
    policy = (
        f"default-src 'none'; connect-src 'self'; img-src data:; {allowed}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
    return Response(body=body, kind=HTML, headers={"Content-Security-Policy": policy})


def _digests(pattern: bytes, body: bytes) -> str:
    found = re.findall(pattern, body, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(part).digest()).decode()}'" for part in found)
