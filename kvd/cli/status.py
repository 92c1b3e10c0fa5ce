"""The exit statuses of kvctl, and the failure that carries one."""

DONE, ABSENT, USAGE, LOST, REFUSED, UNWRITTEN, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class Failure(Exception):
    """Ends the program: one line for a person, what explains it, and the exit status."""

    def __init__(self, status: int, text: str, *explanation: str) -> None:
        super().__init__(text)
        self.status, self.explanation = status, explanation


def absent(*keys: str) -> Failure:
    return Failure(ABSENT, f"no such key: {', '.join(keys)}")
