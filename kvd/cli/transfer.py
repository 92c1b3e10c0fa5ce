"""The commands that move many keys: export, import, mirror, backup."""

from kvd.cli import readers
from kvd.cli.command import PATTERN, Arguments, Command, Option
from kvd.cli.output import Output


def export(args: Arguments, out: Output) -> None:
    from kvd.cli import exporting

    exporting.export(args, out)


def backup(args: Arguments, out: Output) -> None:
    from kvd.cli import exporting

    exporting.backup(args, out)


def import_(args: Arguments, out: Output) -> None:
    from kvd.cli import importing

    importing.import_(args, out)


async def mirror(args: Arguments, out: Output) -> None:
    from kvd.cli import mirroring

    await mirroring.mirror(args, out)


COMMANDS = (
    Command(
        "export", "[<PATTERN>] [<FILE>]", "Use export to write the keys in kv store to a file, at one position", export,
        notes=(PATTERN, """\
export writes a JSON object a line with key, revision, and value, or base64 where it
is not UTF-8; with ttl, the seconds that it has left, or with, the key with which it
lives.  All is as it was at one position; nothing is written before all is there.
Without <FILE> it goes to standard output."""),
    ),
    Command(
        "import", "[<FILE>]", "Use import to write the keys of such a file into kv store", import_,
        options=(
            Option("--dry-run", "", "Write nothing: only look at all lines"),
            Option("--create-only", "", "Leave keys as they are that are there"),
            Option("--from", "SYSTEM", "Read what another system has: etcd, consul or redis", readers.system),
        ),
        notes=("""\
import reads what export and list --json write, from <FILE> or standard input, and
looks at all lines first: if one is bad it is named, and nothing is written.  Times
to live begin anew.  Other keys stay.  If it is refused on the way it says how many
keys were written; to run it again is safe.""", """\
import --from etcd reads what etcdctl get --prefix -w json prints, and --from consul
what consul kv export does.  import --from redis reads the strings of a Redis, with
their times to live; its URL is in the place of <FILE>."""),
    ),
    Command(
        "mirror", "<SRC> <DST> [<PATTERN>]", "Use mirror to follow the keys of one daemon into another", mirror,
        endless=True,
        reads=(("<SRC>", readers.addresses), ("<DST>", readers.addresses), ("<PATTERN>", readers.pattern)),
        options=(
            Option("--replace", "", "Let a first copy change and delete keys that are in the destination"),
            Option("--report", "SECONDS", "Say so often how far it is behind (unless given, 10)", readers.seconds),
        ),
        notes=(PATTERN, """\
mirror makes what matches in the daemon <DST> what it is in <SRC>, and then does each
change there, once; started again it goes on from where it was, which it keeps in
<DST>, in a key kvctl-mirror/...  It prints lines POSITION applied N behind M: M is how
many changes of any keys <SRC> is ahead.  Keys in <DST> have no times to live: they go
when those in <SRC> do.  Each of the two is an ADDR: HOST:PORT, HOST, [IPV6]:PORT
or unix:PATH; several of one store with commas between them."""),
    ),
    Command(
        "backup", "<FILE>", "Use backup to write all of kv store to a file, for kvd restore", backup,
        notes=("""\
backup writes every key as it was at one position, with times to live and owners, the
store's id and a checksum.  The daemon goes on meanwhile.  <FILE> is there when it is
whole and on disk, and until then stays what it was.  It takes a user who may read
and watch every key.  kvd restore FILE --data DIR makes a data directory of it.""",),
    ),
)  # fmt: skip
