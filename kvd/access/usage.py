"""How much of their quotas users have taken, for INFO quotas."""

from collections.abc import Mapping

from kvd.access.quotas import Quota
from kvd.access.users import Users

UNKNOWN = "-"


def usage(users: Users, counted: Mapping[bytes, tuple[int, int]]) -> list[str]:
    """A line for each rule that has a quota, `quota.N user=NAME pattern=PATTERN keys=N max-keys=N bytes=N max-bytes=N`.

    counted: keys and bytes of patterns; what is not counted yet is UNKNOWN, and so is a limit that there is none of.
    """
    found = [
        f"user={user.name} pattern={pattern.decode()} {_words(quota, counted.get(pattern))}"
        for user in users.all
        for (pattern, _), quota in zip(user.rules, user.quotas, strict=True)
        if quota.words
    ]
    return [f"quota.{number} {line}" for number, line in enumerate(found, 1)]


def _words(quota: Quota, taken: tuple[int, int] | None) -> str:
    keys, size = taken or (UNKNOWN, UNKNOWN)
    return f"keys={keys} max-keys={quota.keys or UNKNOWN} bytes={size} max-bytes={quota.size or UNKNOWN}"
