"""Whom a connection's transport says that its peer is, as a user: nobody has to log in who is known already.

With a client certificate that is the user of the name in it.  On a unix socket it is the user who has the name of the
peer's user of this machine; root, and the daemon's own user, may do everything, as they may to its data.
"""

import os
import pwd
from functools import lru_cache

from kvd.access.rights import Right, Rights
from kvd.access.users import DEFAULT, User
from kvd.model import ALL_KEYS
from kvd.process.identity import Identity
from kvd.session.auth import Access

ROOT = 0
_EVERYTHING = ((ALL_KEYS, frozenset(Right)),)


def user_of(identity: Identity, access: Access) -> User | None:
    """The user who a peer is before it logs in: DEFAULT, if there is one, for whom nobody knows."""
    if identity.user in (ROOT, os.getuid()):
        return User(user_name(identity.user) or "root", (), _EVERYTHING, Rights(_EVERYTHING))
    name = identity.certificate if identity.user is None else user_name(identity.user)
    found = access.user(name, None) if name and name != DEFAULT else None
    return found or access.default


@lru_cache(1000)
def user_name(number: int) -> str | None:
    """A user's name on this machine; asked once, for a directory that is far away may take its time."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return None
