"""kvctl, the command line of kvd's clients; everything it knows of the wire is in kvd.client.

main            the program: options, one command, the exit status
usage           what it can be told to do: the page that docopt reads
commands        the commands that ask and are answered
keys            the commands for single keys: get, set, del, ttl, touch, incr
listing         the commands for many keys: keys, list, count
server          the commands for the daemon itself: info, ping
deleting        the command that takes any number of keys: del
watching        the command that goes on: watch
arguments       the words of the command line, and what they stand for
pipelining      many requests of one kind on a connection
standard_input  a value that comes from standard input
output          what is written, on standard output and on standard error
hangup          whether somebody still reads what is written
escape          text as it is safe to show to a person
status          the exit statuses, and the failure that carries one
"""
