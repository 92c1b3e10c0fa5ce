"""Keys that the server ends with the revision: which request made which, and that the number is the revision."""

from tests.faults.history import History, Violation, Write

QUEUE = "q#/"
"""The beginning of these keys."""


def key_of(revision: int) -> str:
    return f"{QUEUE}{revision:016}"


def name(history: History) -> None:
    """Give each PUT QUEUE* its key, after which it is a PUT like any other.  Raises Violation.

    What nobody was told of is found by its value, which nobody else writes; what was not done, or not
    seen yet, has no key.
    """
    made: dict[str, str] = {}
    for change in history.changes.values():
        if change.key.startswith(QUEUE) and change.verb == "SET":
            if change.key != key_of(change.revision):
                raise Violation(f"the number in the key is not the revision: {change}")
            made[change.value] = change.key
    for index, operation in enumerate(history.operations):
        write = operation.what
        if isinstance(write, Write) and write.verb == "NEW":
            done = operation.reply.number if operation.done and operation.reply else 0
            key = key_of(done) if done else made.get(write.value)
            if key:
                history.operations[index] = operation._replace(what=write._replace(verb="PUT", key=key))
