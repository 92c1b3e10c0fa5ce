"""What clients ask for, as the wire's grammar gives it and the store takes it.  All are immutable.

Each says which keys and patterns it touches (`touches`); what goes to the store in groups says how many bytes of values
are in it (`size`).

keys          reads and writes of keys
simple        many writes of the commonest kinds
transactions  what is done together, what is demanded for it, what is limited
watches       watches, and changes that were made
connections   who is connected, and what the daemon tells of itself
"""

from kvd.requests.connections import Auth, ClientName, ClientRange, Help, Info, Kick, Nothing, Ping
from kvd.requests.keys import NUMBERED, Delete, DeleteRange, Increment, KeyRange, LateRead, Put, Read, Touch, Touched
from kvd.requests.simple import Simple, SimpleSets, SimpleWrites
from kvd.requests.transactions import (
    AnyWrite,
    Check,
    CheckNone,
    CheckSince,
    Demand,
    Limited,
    Transaction,
    Write,
)
from kvd.requests.watches import Follow, History, Interval, Resume, Watch

__all__ = [
    "NUMBERED",
    "AnyWrite",
    "Auth",
    "Check",
    "CheckNone",
    "CheckSince",
    "ClientName",
    "ClientRange",
    "Delete",
    "DeleteRange",
    "Demand",
    "Follow",
    "Help",
    "History",
    "Increment",
    "Info",
    "Interval",
    "KeyRange",
    "Kick",
    "LateRead",
    "Limited",
    "Nothing",
    "Ping",
    "Put",
    "Read",
    "Request",
    "Resume",
    "Simple",
    "SimpleSets",
    "SimpleWrites",
    "Touch",
    "Touched",
    "Transaction",
    "Watch",
    "Write",
]

Request = (
    Read | LateRead | Write | Demand | DeleteRange | KeyRange | Watch | Resume | Follow | History
    | Interval | Auth | ClientRange | Kick | Ping | Help | Info | Nothing
)  # fmt: skip
