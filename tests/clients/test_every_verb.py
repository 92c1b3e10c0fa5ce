"""Every verb of the wire is a method of the client and a command of kvctl, or it stands here with a reason."""

from kvd.cli.commands import COMMANDS
from kvd.client import Client, Watch
from kvd.verbs import VERBS

METHODS = {"DEL": "delete", "PUT": "set", "CHECK": "transaction", "BEGIN": "transaction", "COMMIT": "transaction"}
"""By another name than the verb's."""

NOT_IN_THE_CLIENT = {
    "PROGRESS": "a Watch asks for it by itself",
    "ABORT": "a transaction whose body fails is not sent",
    "UNWATCH": "a Watch has a connection of its own, which it closes",
    "QUIT": "close() does it",
    "AUTH": "connect() does it",
}
NOT_IN_KVCTL = {
    "PUT": "set has its options",
    "GETS": "get --json tells the revision",
    "RESUME": "watch --since",
    "SYNC": "watch --sync",
    "FOLLOW": "watch --sync --since",
    "CHANGES": "watch --since",
    "PROGRESS": "watch asks for it by itself",
    "UNWATCH": "watch has a connection of its own, which it closes",
    "BEGIN": "txn sends it",
    "CHECK": "txn takes it as a line",
    "COMMIT": "txn sends it",
    "ABORT": "txn has all of it before it begins",
    "AUTH": "--user is to do it",
    "QUIT": "every command ends by itself",
}


def test_every_verb_is_a_method_of_the_client() -> None:
    names = {verb: METHODS.get(verb, verb.lower()) for verb in (name.decode() for name in VERBS)}
    missing = {verb for verb, name in names.items() if not hasattr(Client, name) and not hasattr(Watch, name)}
    assert missing == NOT_IN_THE_CLIENT.keys()


def test_every_verb_is_a_command() -> None:
    missing = {name.decode() for name in VERBS if name.decode().lower() not in COMMANDS}
    assert missing == NOT_IN_KVCTL.keys()
