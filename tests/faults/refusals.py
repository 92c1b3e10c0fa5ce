"""What may be refused, and when: nothing but what cannot be done now, and no read while only the disk is full."""

from collections.abc import Iterable

from tests.faults.history import CUT, History, Operation, Read, Transaction, Violation

FOR_NOW = ("unavailable", "uncertain")
"""Errors of a request that is right."""


def check_codes(operations: Iterable[Operation]) -> None:
    """All that is asked is right, so that an error says that the store cannot serve now; but for spoiled transactions.

    Raises Violation.
    """
    for operation in operations:
        spoiled = isinstance(operation.what, Transaction) and operation.what.spoiled
        if operation.code not in ("", *FOR_NOW) and not (spoiled and operation.code == "aborted"):
            raise Violation(f"refused although it is right: {operation}")
        if spoiled and operation.done:
            raise Violation(f"done although one of its requests was refused: {operation}")
        if isinstance(operation.what, Read) and operation.code == "uncertain":
            raise Violation(f"a read that may have changed something: {operation}")


def check_full(history: History) -> None:
    """Whatever is read while the disk is full is answered.  Raises Violation.

    Only what was sent then counts: before, the store may have been away for another reason.
    """
    # Who breaks off in the middle of a line does not wait for what was asked before it.
    cut = {(operation.connection, operation.start) for operation in history.operations if operation.reply == CUT}
    for operation in history.operations:
        if not isinstance(operation.what, Read) or operation.answered:
            continue
        during = any(begin <= operation.start <= end for begin, end in history.full)
        if during and (operation.connection, operation.start) not in cut:
            raise Violation(f"not answered while the disk was full: {operation}")
