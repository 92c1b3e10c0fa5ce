"""What the rules of a user allow.  Rules only allow: what none of them allows is denied."""

from collections.abc import Iterable, Sequence
from enum import Enum

from kvd.access.quotas import Quota
from kvd.model import Patterns


class Right(Enum):
    """What a rule may allow."""

    READ = "read"
    WRITE = "write"
    WATCH = "watch"
    ADMIN = "admin"


Rule = tuple[bytes, frozenset[Right]]
"""A key or a pattern, and what is allowed there."""


class Rights:
    """What one user may, by rules.

    may_read, may_write: take a key.  quota: bytes, as `requests.Limited` has it, b"" if there is none.
    """

    def __init__(self, rules: Iterable[Rule], quotas: Sequence[Quota] = ()) -> None:
        given = tuple(rules)
        self._patterns = {right: Patterns(pattern for pattern, rights in given if right in rights) for right in Right}
        self.may_read = self._patterns[Right.READ].match
        self.may_write = self._patterns[Right.WRITE].match
        pairs = zip(given, quotas, strict=False)
        self.quota = b"".join(quota.line(pattern) for (pattern, _), quota in pairs if quota.words)

    def allow(self, right: Right, touched: bytes) -> bool:
        """Whether a right goes for a key, or for all of a pattern."""
        return self._patterns[right].covers(touched)

    def allowed(self, right: Right, pattern: bytes) -> tuple[bytes, ...]:
        """The parts of a key or a pattern for which a right goes, in order: none of them overlap."""
        return self._patterns[right].common(pattern)
