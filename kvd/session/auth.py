"""The users of one process: who logs in, and what becomes of those who have when the users are changed.

A hash takes tens of milliseconds: they are made in threads, two at a time, for addresses by turns, and logins that are
equal share one.  What was found right since the users were read is known by a digest that is of use in this process
alone.  A change of the users takes effect for all connections in one step, between two requests, and so at one
position.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from kvd.access import passwords
from kvd.access.attempts import MOST_WAITING, Attempts, Failures, Pair
from kvd.access.turns import Turns
from kvd.access.users import DEFAULT, User, Users
from kvd.errors import LimitReached, NotAuthenticated, Unavailable
from kvd.process.audit import Audit
from kvd.process.limited_log import LimitedLog

logger = logging.getLogger("kvd.session")

Secret = tuple[str, bytes]
"""A user's name, and a digest of a password."""
HASHES = 2
"""Hashes that are made at once: each takes a core, and 19 MiB."""
WRONG = "the user or the password is wrong"


class Judged(Protocol):
    """A connection's login: see `login.Login`."""

    def users_changed(self) -> None:
        """Look again at what it may."""


class Access:
    """The users, and all connections' logins."""

    def __init__(self, users: Users, audit: Audit | None = None) -> None:
        self.users = users
        self._audit = audit
        self.logins: set[Judged] = set()
        self._key = os.urandom(hashlib.blake2b.MAX_KEY_SIZE)
        # The hash that a password has.
        self._known: dict[Secret, str] = {}
        self._hashing: dict[Secret, asyncio.Task[str | None]] = {}
        # The password that is being looked at for a pair.
        self._at_work: dict[Pair, Secret] = {}
        self._failures = Failures()
        self._threads = ThreadPoolExecutor(HASHES, "password")
        self._turns = Turns(HASHES)
        self._failed = LimitedLog(
            logger, logging.WARNING, "a login of %s from %s failed", "logins failed"
        )  # fmt: skip

    @property
    def default(self) -> User | None:
        """Who has not logged in."""
        return self.users.get(DEFAULT)

    def change(self, users: Users) -> None:
        """Take other users, for all connections in one step."""
        self.users = users
        self._known.clear()
        if self._audit:
            self._audit.reopen()
            self._audit.note("users", "", {"users": len(users)})
        for login in list(self.logins):
            login.users_changed()

    def close(self) -> None:
        """Make no more hashes."""
        self._failed.flush()
        if self._audit:
            self._audit.close()
        for task in self._hashing.values():
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def user(self, name: str, hashed: str | None) -> User | None:
        """A user, if the password is still one of theirs; None: they come without one."""
        found = self.users.get(name)
        return found if found and (hashed is None or hashed in found.hashes) else None

    def note(self, event: str, address: str, facts: Mapping[str, object], key: bytes | None = None) -> bool:
        """Put something into the audit log; whether it is there, or there is none."""
        text = None if key is None else key.decode()
        return self._audit is None or self._audit.note(event, address, facts, text)

    def known(self, name: str, password: bytes, address: str) -> str | None:
        """The same as `log_in`, without waiting: None if that would wait, or refuse."""
        if self._failures.of((name, address), _now()):
            return None
        hashed = self._known.get(self._secret(name, password))
        return hashed if hashed and self.note("auth", address, {"user": name, "ok": True}) else None

    def _secret(self, name: str, password: bytes) -> Secret:
        return name, hashlib.blake2b(password, key=self._key).digest()

    async def log_in(self, name: str, password: bytes, address: str) -> str:
        """The hash that the password of a user has.  Raises NotAuthenticated, and LimitReached after many failures.

        address: str, where the peer is, without its port.
        """
        secret = self._secret(name, password)
        # Many guesses at once are not all looked at before the first has failed.
        while (attempts := self._failures.of((name, address), _now())) is None and (
            other := self._other_at_work((name, address), secret)
        ):
            await asyncio.wait((other,))
        if attempts is None:
            hashed = await self._look(secret, password, address)
        else:
            hashed = await self._in_turn(attempts, secret, password, address)
        # A name that is none may be a password in the wrong place.
        known = {"user": name} if name in self.users else {}
        if not self.note("auth", address, known | {"ok": hashed is not None}):
            raise Unavailable("the audit log cannot be written, and without it nobody can log in; try again later")
        if hashed is None:
            raise NotAuthenticated(WRONG)
        return hashed

    def _other_at_work(self, pair: Pair, secret: Secret) -> asyncio.Task[str | None] | None:
        """What looks at another password of a pair now."""
        found = self._at_work.get(pair, secret)
        return None if found == secret or secret in self._known else self._hashing.get(found)

    async def _in_turn(self, attempts: Attempts, secret: Secret, password: bytes, address: str) -> str | None:
        """The same after failures: one at a time, each some time after the last failure, the right one too."""
        if attempts.waiting >= MOST_WAITING:
            self.note("refused", address, {"code": LimitReached.code, "verb": "AUTH"})
            raise LimitReached("too many logins of this user from this address have failed; try again later")
        attempts.waiting += 1
        try:
            async with attempts.turn:
                await asyncio.sleep(attempts.next - _now())
                hashed = await self._look(secret, password, address)
        finally:
            attempts.waiting -= 1
        if hashed:
            self._failures.forget((secret[0], address))
        return hashed

    async def _look(self, secret: Secret, password: bytes, address: str) -> str | None:
        if secret in self._known:
            return self._known[secret]
        task = self._hashing.get(secret)
        if task is None:
            task = self._hashing[secret] = asyncio.create_task(self._find(secret, password, address))
        self._at_work[pair := (secret[0], address)] = secret
        task.add_done_callback(lambda _: self._leave(pair, secret))
        # Others may wait for it when this connection is gone.
        return await asyncio.shield(task)

    def _leave(self, pair: Pair, secret: Secret) -> None:
        if self._at_work.get(pair) == secret:
            del self._at_work[pair]

    async def _find(self, secret: Secret, password: bytes, address: str) -> str | None:
        """The hash that a password has, None if it has none of the user's; a failure is noted."""
        name, _ = secret
        user = self.users.get(name)
        # What nobody's name is takes as long.
        hashes = (user.hashes if user else ()) or (passwords.UNKNOWN,)
        try:
            async with self._turns.of(address):
                loop = asyncio.get_running_loop()
                hashed = await loop.run_in_executor(self._threads, _first_match, hashes, password)
        finally:
            del self._hashing[secret]
        # The users may have been changed meanwhile.
        user = self.users.get(name)
        if hashed and user and hashed in user.hashes:
            self._known[secret] = hashed
            return hashed
        self._failures.add((name, address), _now())
        # A name that is none may be a password in the wrong place.
        self._failed.write(name if user else "somebody unknown", address)
        return None


def _first_match(hashes: Sequence[str], password: bytes) -> str | None:
    return next((hashed for hashed in hashes if passwords.matches(hashed, password)), None)


def _now() -> float:
    return asyncio.get_running_loop().time()
