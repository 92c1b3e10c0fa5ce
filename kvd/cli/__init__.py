"""kvctl, the command line of kvd's clients; everything it knows of the wire is in kvd.client.

main            the program: one command, the exit status
arguments       the command line, taken apart
usage           the pages: one for each command, and one of all together
commands        all commands, group by group

keys            the group for single keys: get, set, append, del, edit, ttl, touch, incr
watching        the group that goes on: watch
waiting         the group that waits: wait
listing         the group for many keys: keys, list, count
transfer        the group that moves many keys: export, import, mirror, backup
lines           the group for lines of the wire: send, txn
locks           the group that runs a command while it holds a lock: lock, elect
server          the group for the daemon itself: info, ping, clients, kick
users           the group for the file of users: user
terminal        the group for people at a terminal: top, shell
helping         the group that tells of kvctl itself: help, completion
command         what a command is: a row of its group

following       where the changes come from that are watched
latest          the newest change of each key, for who is slower than the changes
printing        changes, printed
showing         how changes are written: for programs, and for people
executing       a command that is run for each change
screen          what top shows
shell           what shell is made of
exporting       a copy of the keys, into a file: export, backup
importing       a file of keys, looked at and then written
mirroring       changes of one daemon, taken for another
mirrored        the store into which they are written
writes          what a file of keys stands for, kept until it is written
entries         keys as lines of JSON
foreign         what etcd, Consul and Redis have
bulk_writing    many writes on a connection, until one is refused
holding         a command that is run while a lock is held
guard           a process that ends that command when the lock is lost
sending         lines of the wire, sent as they come
together        lines of the wire, done together
speaking        a connection on which a command speaks for itself
progress        how far something long has come
editing         a value in an editor
contexts        settings that no option gives: the environment, and a file
completing      what completes kvctl's words in a shell
manual          the manual page
deleting        what deletes any number of keys
pipelining      many requests of one kind on a connection
standard_input  a value that comes from standard input, or from a file
password        passwords, for a daemon and for the file of users
readers         what the words of the command line stand for
output          what is written, on standard output and on standard error
hangup          whether somebody still reads what is written
interrupts      Ctrl-C, which ends kvctl wherever it is
signals         signals that end what has changed its terminal
escape          text as it is safe to show to a person
tls_hints       what to do where TLS keeps kvctl from a daemon
status          the exit statuses, and the failure that carries one
"""
