"""The synchronous client: requests, by any number of threads.  It has the names of kvd.client, and no event loop.

with connect("127.0.0.1:5830") as kv:
    revision = kv.set("lock/db", "worker-7", ttl=30, if_revision=0)
    with kv.watch("lock/*") as changes:
        for event in changes:
            print(event.position, event.verb, event.key, event.value)
"""

import ssl
from collections.abc import Sequence
from typing import Self, TypeVar

from kvd.client import arguments, limits
from kvd.client.arguments import Seconds, Value
from kvd.client.calling import Calling
from kvd.client.committing import ThreadTransaction
from kvd.client.dialing import DEFAULT_ADDRESS, Addresses
from kvd.client.faces import run
from kvd.client.following import Retrying
from kvd.client.leasing import Told
from kvd.client.limits import CONNECT_TIMEOUT, LEASE, RECONNECT, TIMEOUT, Limits
from kvd.client.locking import Locks, token
from kvd.client.places import Place
from kvd.client.sync_calls import Calls
from kvd.client.sync_lock import Election, Lease, Lock
from kvd.client.sync_mirror import Mirror
from kvd.client.sync_watch import Follow, Watch
from kvd.client.threads import ThreadFace
from kvd.client.tls import File
from kvd.client.words import WatchOptions

Result = TypeVar("Result")

__all__ = ["Client", "Election", "Follow", "Lease", "Lock", "Mirror", "Watch", "connect"]


def connect(
    address: str | Sequence[str] = DEFAULT_ADDRESS,
    *,
    connect_timeout: Seconds = CONNECT_TIMEOUT,
    timeout: Seconds | None = TIMEOUT,
    reconnect: Seconds = RECONNECT,
    retry_uncertain: bool = False,
    tls: bool | ssl.SSLContext = False,
    ca: File | None = None,
    cert: File | None = None,
    key: File | None = None,
    user: str | None = None,
    password: str | None = None,
) -> "Client":
    """Connect to the daemon at HOST:PORT, HOST, [IPV6]:PORT or unix:PATH, or to one of several of one store.

    connect_timeout: seconds until it must have answered a PING: what is not kvd may accept and be silent.
    timeout: seconds without a byte from the daemon, while a call waits for it, after which the connection is lost; None
    for no limit.  An answer may take longer, as long as it comes.
    reconnect: seconds for which a call tries to connect again when the connection was lost; 0: not at all.
    retry_uncertain: send a write again of which it is not known whether it was done; it may then be done twice.
    tls: True, or an SSLContext; an address that begins with tls: stands for True.  ca: PEM file of who may have signed
    the daemon's certificate, unless this machine trusts them.  cert, key: PEM files to be shown to the daemon.
    user, password: who this is, for a daemon that has users.

    Raises BadAddress, Unreachable, Refusal, TypeError, ValueError.
    """
    waits = limits.checked(
        connect_timeout, timeout, reconnect, retry_uncertain,
        tls=tls, ca=ca, cert=cert, key=key, user=user, password=password,
    )  # fmt: skip
    client = Client(arguments.addresses(address), waits)
    run(client._calling.open())
    return client


class Client(Calls):
    """Requests, of any number of threads at once; made by `connect`.

    Those of several threads are pipelined.  A call that is interrupted, as by Ctrl-C, disturbs no other: its reply is
    read and dropped, but what it sent may be done all the same.

    Every call may raise TypeError and Refusal for its arguments before anything is sent, and any Refusal of the
    daemon's.  When the connection is lost, reads are asked again, and so are writes that were not sent; of one that was
    in flight it is not known whether it was done: Uncertain.  If there is no daemon in time, ConnectionLost (TimedOut:
    it was silent; ProtocolError: it is none; Unreachable).

    Seconds are a number or a timedelta, to the millisecond.
    """

    def __init__(self, addresses: Sequence[str], waits: Limits) -> None:
        self._addresses, self._limits = addresses, waits
        self._locks = Locks(ThreadFace(), addresses, waits)
        super().__init__(Calling(ThreadFace(), Addresses(addresses), waits))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls that still wait raise ConnectionLost."""
        run(self._calling.close())

    def transaction(self) -> ThreadTransaction:
        """Gather writes in a `with`, at whose end they are done together, or not at all."""
        return ThreadTransaction(self._calling)

    def watch(self, *patterns: str, options: WatchOptions | None = None) -> Watch:
        """Watch the keys that match one of the patterns, or every key, on another connection."""
        return self._watch(patterns, options)

    def resume(self, position: str, *patterns: str, options: WatchOptions | None = None) -> Watch:
        """Watch from a position on: all changes after it come, or entering raises Compacted, OtherStore, Future."""
        arguments.position(position)  # None would be a watch from now on
        return self._watch(patterns, options, resume=position)

    def sync(self, *patterns: str, options: WatchOptions | None = None) -> Watch:
        """Watch, beginning with a copy of all there is."""
        return self._watch(patterns, options, sync=True)

    def follow(
        self, *patterns: str, position: str | None = None, place: Place | None = None, copies: bool = True,
        retrying: Retrying | None = None, options: WatchOptions | None = None,
    ) -> Follow:  # fmt: skip
        """Watch through restarts and lost connections, on connections of its own."""
        return Follow(
            self._addresses, *patterns, position=position, place=place, copies=copies, retrying=retrying,
            options=options,
            **self._limits.given(),
        )  # fmt: skip

    def mirror(self, *patterns: str) -> Mirror:
        """Keep a live copy of what matches, as a mapping."""
        return Mirror(
            self._addresses, *patterns,
            **self._limits.given(),
        )  # fmt: skip

    def lease(
        self, ttl: Seconds = LEASE, *, key: str | None = None, value: Value | None = None, lost: Told | None = None
    ) -> Lease:
        """Hold a key that is there as long as this program is, for others to live with (`owner`).

        ttl: seconds after which it ends if this program does not renew it.  lost: is told if it ends so.
        """
        return Lease(self._locks.leasing(f"lease/{token()}" if key is None else key, value, ttl), lost)

    def lock(
        self, name: str, ttl: Seconds = LEASE, *, value: Value | None = None, timeout: Seconds | None = None,
        lease: Lease | None = None, lost: Told | None = None,
    ) -> Lock:  # fmt: skip
        """Wait in turn for a lock, at most `timeout` seconds, and hold it; entering raises TimeoutError, LeaseLost.

        value: what others see of the holder.  lease: live with this one.  lost: is told if the lock is lost.
        """
        held = arguments.of_kind(Lease, lease, "lease")
        locking = self._locks.locking(name, ttl, value, held._leasing if held else None)
        return Lock(locking, self._calling, name, arguments.patience_or_none(timeout, "timeout"), lost)

    def election(
        self, name: str, value: Value, ttl: Seconds = LEASE, *, timeout: Seconds | None = None,
        lease: Lease | None = None, lost: Told | None = None,
    ) -> Election:  # fmt: skip
        """Wait in turn to lead, and lead; for the rest, like `lock`."""
        held = arguments.of_kind(Lease, lease, "lease")
        locking = self._locks.locking(name, ttl, value, held._leasing if held else None)
        return Election(locking, self._calling, name, arguments.patience_or_none(timeout, "timeout"), lost)

    def _watch(
        self, patterns: tuple[str, ...], options: WatchOptions | None, *, resume: str | None = None, sync: bool = False
    ) -> Watch:
        return Watch(
            self._addresses, *patterns, resume=resume, sync=sync, options=options,
            **self._limits.given(),
        )  # fmt: skip
