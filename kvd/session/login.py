"""Who the peer of one connection is, and what it may do: everything, where there are no users."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from kvd.access.needs import WATCH, Need, Who, of, of_transaction
from kvd.access.ranges import parts
from kvd.access.rights import Right, Rights
from kvd.access.users import User
from kvd.errors import Denied, NotAuthenticated, Refusal, Unavailable
from kvd.process.identity import NOBODY, Identity
from kvd.requests import Auth, KeyRange, Limited, Transaction
from kvd.session.auth import Access
from kvd.session.identified import user_of

FIRST = "say who you are first: AUTH user password"
NO_USERS = "there are no users here (kvd --users)"


class Permit(NamedTuple):
    """What a watch may have.  patterns: those of which it may be sent changes.  check: raises a refusal as soon as it
    may be sent no more."""

    patterns: tuple[bytes, ...]
    check: Callable[[], None]


class Guard(Protocol):
    """What a connection may do now.  All but `refusal` raise Denied or NotAuthenticated."""

    @property
    def is_known(self) -> bool:
        """Whether the peer may ask for more than anybody may."""

    @property
    def user(self) -> str:
        """The user's name, "" if there is none."""

    def refusal(self, verb: str, request: Any) -> Refusal | None:
        """Why a request is not allowed; None: it is."""

    def permit(self, verb: str, request: Any) -> None:
        """Whether a request is allowed."""

    def permit_transaction(self, transaction: Transaction) -> Transaction | Limited:
        """A transaction within its limits, if all of it is allowed."""

    def over_quota(self, verb: str, refusal: Refusal, key: bytes | None) -> None:
        """A write was refused, for it would have gone over one."""

    def administer(self, verb: str, about: Mapping[str, object] | None = None) -> None:
        """Note what is about to be done for one who administers; Unavailable where that cannot be noted."""

    def ranges(self, wanted: KeyRange) -> list[KeyRange]:
        """The parts of a range that may be listed, in the order in which they are."""

    def readable(self, pattern: bytes) -> Sequence[bytes]:
        """The parts of a pattern that may be read."""

    def watch(self, verb: str, request: Any) -> Permit:
        """What a watch may have."""

    async def log_in(self, auth: Auth) -> None:
        """Be somebody from now on.  Also raises LimitReached."""

    def close(self) -> None:
        """The connection ends."""


class Unguarded:
    """Where there are no users, everybody may do everything."""

    is_known = True
    user = ""

    def refusal(self, verb: str, request: Any) -> Refusal | None:  # noqa: ARG002
        """See `Guard`."""
        return None

    def permit(self, verb: str, request: Any) -> None:
        """See `Guard`."""

    def permit_transaction(self, transaction: Transaction) -> Transaction | Limited:
        """See `Guard`."""
        return transaction

    def over_quota(self, verb: str, refusal: Refusal, key: bytes | None) -> None:
        """See `Guard`."""

    def administer(self, verb: str, about: Mapping[str, object] | None = None) -> None:
        """See `Guard`."""

    def ranges(self, wanted: KeyRange) -> list[KeyRange]:
        """See `Guard`."""
        return [wanted]

    def readable(self, pattern: bytes) -> Sequence[bytes]:
        """See `Guard`."""
        return (pattern,)

    def watch(self, verb: str, request: Any) -> Permit:  # noqa: ARG002
        """See `Guard`."""
        return Permit(request.patterns, _always)

    async def log_in(self, auth: Auth) -> None:  # noqa: ARG002
        """See `Guard`."""
        raise NotAuthenticated(NO_USERS)

    def close(self) -> None:
        """See `Guard`."""


UNGUARDED = Unguarded()


class Login:
    """The same where there are users."""

    def __init__(self, access: Access, address: str, changed: Callable[[], None], identity: Identity = NOBODY) -> None:
        """address: str, where the peer is.  changed: called when it may do other things than before.

        identity: what is known of it before it logs in.
        """
        self._access = access
        self._identity = identity
        self._address = address
        self._changed = changed
        self._name: str | None = None
        self._hash: str | None = None
        self._user: User | None = None
        self.rights: Rights | None = None
        self._take(self._come(user_of(identity, access)))
        access.logins.add(self)

    @property
    def is_known(self) -> bool:
        """See `Guard`."""
        return self._user is not None

    @property
    def user(self) -> str:
        """See `Guard`."""
        return self._user.name if self._user else ""

    def close(self) -> None:
        """See `Guard`."""
        self._access.logins.discard(self)
        # Whom it would tell has it, too, as a watch does by its permit: it would keep both until the garbage collector
        # comes.
        self._changed = _nothing

    def users_changed(self) -> None:
        """Be who one is among other users: as before the login, if the user or the password is gone."""
        found = self._access.user(self._name, self._hash) if self._name else None
        if found is None:
            self._name = self._hash = None
            found = user_of(self._identity, self._access)
            if found and found.name != self.user:
                found = self._come(found)
        self._take(found)
        self._changed()

    def _come(self, user: User | None) -> User | None:
        """Who the peer is at first: nobody is somebody without a line in the audit log."""
        if user is None or user == self._access.default:
            return user
        how = "user id" if self._identity.certificate is None else "certificate"
        facts = {"user": user.name, "ok": True, "by": how}
        return user if self._access.note("auth", self._address, facts) else self._access.default

    def _take(self, user: User | None) -> None:
        self._user = user
        self.rights = user.rights if user else None

    async def log_in(self, auth: Auth) -> None:
        """See `Guard`.  One that fails leaves the connection as it was."""
        name = auth.user.decode()
        hashed = await self._access.log_in(name, auth.password, self._address)
        if not self._be(name, hashed):
            raise NotAuthenticated("the users were changed a moment ago; try again")

    def log_in_at_once(self, auth: Auth) -> bool:
        """The same, if it need not wait; False: it has to, or is refused."""
        name = auth.user.decode()
        hashed = self._access.known(name, auth.password, self._address)
        return hashed is not None and self._be(name, hashed)

    def _be(self, name: str, hashed: str) -> bool:
        user = self._access.user(name, hashed)
        if user is not None:
            self._name, self._hash = name, hashed
            self._take(user)
        return user is not None

    # ---- what is allowed

    def refusal(self, verb: str, request: Any) -> Refusal | None:
        """See `Guard`."""
        wanted = of(verb, request)
        if wanted is Who.ANYBODY:
            return None
        if wanted is None:
            return Denied(f"nothing says who may ask for {verb}")
        return self._lacking(() if isinstance(wanted, Who) else wanted)

    def refused(self, verb: str, request: Any) -> Refusal | None:
        """The same as `refusal`, of what will not be done if it is one."""
        refusal = self.refusal(verb, request)
        if refusal:
            self._note(verb, refusal, next(iter(request.touches()), None))
        return refusal

    def _note(self, verb: str, refusal: Refusal, key: bytes | None) -> None:
        user = {"user": self._user.name} if self._user else {}
        self._access.note("refused", self._address, {"code": refusal.word, **user, "verb": verb}, key)

    def permit(self, verb: str, request: Any) -> None:
        """See `Guard`."""
        if refusal := self.refused(verb, request):
            raise refusal

    def permit_transaction(self, transaction: Transaction) -> Transaction | Limited:
        """See `Guard`."""
        self._require("COMMIT", of_transaction(transaction))
        assert self.rights  # noqa: S101
        return Limited(transaction, self.rights.quota) if self.rights.quota else transaction

    def over_quota(self, verb: str, refusal: Refusal, key: bytes | None) -> None:
        """See `Guard`."""
        self._note(verb, refusal, key)

    def administer(self, verb: str, about: Mapping[str, object] | None = None) -> None:
        """See `Guard`."""
        if not self._access.note("admin", self._address, {"user": self.user, "verb": verb, **(about or {})}):
            raise Unavailable("the audit log cannot be written, and without it nobody administers; nothing was done")

    def ranges(self, wanted: KeyRange) -> list[KeyRange]:
        """See `Guard`."""
        return parts(wanted, self.readable(wanted.pattern))

    def readable(self, pattern: bytes) -> Sequence[bytes]:
        """See `Guard`."""
        self._require("LIST", (Need(Right.READ, pattern, partly=True),))
        assert self.rights  # noqa: S101
        return self.rights.allowed(Right.READ, pattern)

    def watch(self, verb: str, request: Any) -> Permit:
        """See `Guard`.  A copy, and what follows it, is of what may be read."""
        self.permit(verb, request)
        needs = [Need(WATCH, pattern) for pattern in request.patterns]
        patterns: tuple[bytes, ...] = request.patterns
        if any(need.partly for need in self._needs(verb, request)):
            assert self.rights  # noqa: S101
            patterns = tuple(part for asked in patterns for part in self.rights.allowed(Right.READ, asked))
            needs += [Need(Right.READ, part) for part in patterns]
        return Permit(patterns, lambda: self._require(verb, needs))

    def _needs(self, verb: str, request: Any) -> Iterable[Need]:
        wanted = of(verb, request)
        return () if wanted is None or isinstance(wanted, Who) else wanted

    def _require(self, verb: str, needs: Iterable[Need]) -> None:
        if refusal := self._lacking(needs):
            self._note(verb, refusal, None)
            raise refusal

    def _lacking(self, needs: Iterable[Need]) -> Refusal | None:
        """What a user lacks of some rights, or that nobody is known to be one."""
        rights = self.rights
        if rights is None or self._user is None:
            return NotAuthenticated(FIRST)
        for right, touched, partly in needs:
            if not (rights.allowed if partly else rights.allow)(right, touched):
                if right is Right.ADMIN:
                    return Denied(f"{self._user.name} may not administer the daemon: a rule for * with admin allows it")
                what = (
                    "anything of this"
                    if partly
                    else "all keys of this pattern"
                    if touched.endswith(b"*")
                    else "this key"
                )
                return Denied(f"{self._user.name} may not {right.value} {what}")
        return None


def _nothing() -> None:
    """Takes the place of the connection, once it has ended."""


def _always() -> None:
    """Where there are no users, a watch never ends for want of a right."""
