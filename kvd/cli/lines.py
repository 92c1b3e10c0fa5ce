"""The commands for lines of the wire: send, txn."""

from kvd.cli.command import Arguments, Command
from kvd.cli.output import Output


def send(args: Arguments, out: Output) -> None:
    from kvd.cli import sending

    sending.send(args, out)


def txn(args: Arguments, out: Output) -> None:
    from kvd.cli import together

    together.txn(args, out)


COMMANDS = (
    Command(
        "send", "", "Use send to send lines of the wire from standard input, and print what comes", send,
        notes=("""\
send prints every line that the daemon sends, as nc does; a refused line is named on
standard error, with its number.  Of several the most serious counts for the exit
status; 1 stands for NONE and CONFLICT.  It ends when all is answered, or when a
watch that it began has ended.""",),
    ),
    Command(
        "txn", "", "Use txn to do the lines on standard input together, or none of them", txn,
        notes=("""\
txn takes lines SET, PUT, DEL, TOUCH, INCR and CHECK as they are on the wire, and
prints what COMMIT says: OK REV, or CONFLICT REV KEY (status 1) for the first
condition that does not hold.  Of a line that is refused it says the number.""",),
    ),
)  # fmt: skip
