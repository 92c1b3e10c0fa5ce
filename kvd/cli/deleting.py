"""The command that takes any number of keys: del."""

from contextlib import suppress

from kvd.cli.command import Arguments
from kvd.cli.output import Output
from kvd.cli.pipelining import each
from kvd.cli.status import ABSENT, Failure, absent, asking, most_serious
from kvd.client import Client

Outcome = int | Failure
"""The revision that a key's deletion took, or why there is none."""


async def delete(kv: Client, args: Arguments, out: Output) -> None:
    """Delete the keys, whatever becomes of some of them; raise Failure that says what."""

    async def outcome(key: str) -> Outcome:
        try:
            with asking(writing=True):
                revision = await kv.delete(key, if_revision=args["--if"])
        except Failure as failure:
            return failure
        return absent(key) if revision is None else revision

    keys = args["<KEY>"]
    outcomes: list[Outcome | None] = [None] * len(keys)
    try:
        await each(outcome, keys, outcomes)
    finally:  # not before: that nobody reads what is printed leaves no key undeleted
        with suppress(OSError):  # it is met again at the end; what became of the keys is told before
            for key, revision in zip(keys, outcomes, strict=True):
                if isinstance(revision, int):
                    out.line(f"{revision}", key=key, revision=revision)
    if failure := _failure(keys, outcomes):
        raise failure


def _failure(keys: list[str], outcomes: list[Outcome | None]) -> Failure | None:
    """What did not go well; of several keys it names those to which the same happened."""
    failures = {key: outcome for key, outcome in zip(keys, outcomes, strict=True) if isinstance(outcome, Failure)}
    if len(keys) == 1:
        return failures.get(keys[0])
    missing = [key for key, failure in failures.items() if failure.status == ABSENT]
    messages = list(absent(*missing).messages) if missing else []
    refused: dict[str, list[str]] = {}
    for key, failure in failures.items():
        if failure.status != ABSENT:
            refused.setdefault(str(failure), []).append(key)
    messages += [f"{text}: {', '.join(names)}" for text, names in refused.items()]
    return Failure(most_serious(failure.status for failure in failures.values()), *messages) if messages else None
