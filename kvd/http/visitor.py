"""Who asks on one connection, and what they may do: users come with HTTP Basic, and are those of the protocol."""

import binascii
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from kvd.errors import Denied, NotAuthenticated, Refusal
from kvd.process.identity import Identity
from kvd.requests import AnyWrite, Auth, Delete, Limited, Put
from kvd.session.auth import Access
from kvd.session.login import FIRST, UNGUARDED, Guard, Login
from kvd.wire import words

WRONG = "expected HTTP Basic, with a user's name and password"


class Visitor:
    """Of one connection.  guard: what the one who asks may do now."""

    def __init__(self, access: Access | None, host: str, identity: Identity, changed: Callable[[], None]) -> None:
        """access: None if everybody may do everything.  host, identity: of the peer.  changed: as Login takes it."""
        self._access = access
        self._known = host, identity, changed
        self.guard: Guard = self._anew()
        self._header, self._name = "", ""

    def _anew(self) -> Guard:
        host, identity, changed = self._known
        return Login(self._access, host, changed, identity) if self._access else UNGUARDED

    async def come(self, header: str) -> None:
        """Be who a request's Authorization says, "" for nobody.  Raises NotAuthenticated, LimitReached.

        As long as requests say the same, and the user is not changed, nobody has to log in again.
        """
        if not self._access or (header == self._header and (not header or self.guard.user == self._name)):
            return
        self.guard.close()
        self.guard, self._header = self._anew(), ""
        if header:
            auth = _auth(header)
            await self.guard.log_in(auth)
            self._header, self._name = header, auth.user.decode()

    def permit(self, verb: str, request: Any) -> None:
        """Whether what a verb of the protocol does is allowed.  Raises Denied, NotAuthenticated."""
        try:
            self.guard.permit(verb, request)
        except Refusal as error:
            raise self.told(error) from None

    def limited(self, write: Put | Delete) -> AnyWrite:
        """A write as the store takes it from one who may not fill it."""
        quota = self.guard.rights.quota if isinstance(self.guard, Login) and self.guard.rights else b""
        return Limited(write, quota) if quota and isinstance(write, Put) else write

    def require_known(self) -> None:
        """Raises NotAuthenticated for one who may ask for no more than anybody."""
        if not self.guard.is_known:
            raise NotAuthenticated(FIRST)

    def told(self, error: Refusal) -> Refusal:
        """A refusal; one who has not said who they are may say so, and is asked to."""
        if isinstance(error, Denied) and self._access and not self._header:
            return NotAuthenticated(str(error))
        return error

    def close(self) -> None:
        """The connection ends."""
        self.guard.close()


def _auth(header: str) -> Auth:
    """Raises NotAuthenticated."""
    scheme, _, text = header.partition(" ")
    try:
        user, colon, password = b64decode(text.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        raise NotAuthenticated(WRONG) from None
    if scheme.lower() != "basic" or not colon or not words.is_user(user) or words.why_no_password(password):
        raise NotAuthenticated(WRONG)
    return Auth(user, password)
