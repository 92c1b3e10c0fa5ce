"""kvd: a key-value daemon that any program with a socket can read, write and watch.

__main__     the command `kvd`
cli          the command `kvctl`
daemon       the embedded store and who serves, this process or workers
workers      several processes that serve
server       one process that serves
session      one connection
verbs        the table of requests
store        everything that asks Redis
embedded     the Redis or Valkey server that the daemon starts itself
changes      the log reader: follows the store's change log
hub          hands changes to watchers
client       the client library
reaping      what process 1 owes to the children of others
child        a child process that is started again when it dies
running      the event loop, the logger, and the signals that end a process
listening    sockets to listen on
descriptors  the limit of open files
limited_log  log lines that peers cause
freed_memory  memory that was freed, given back to the system
machine      how much memory there is for this process
wire         the line protocol, pure
settings     what may be chosen
memory       the plan of memory: who may take how much
credentials  the URL of a store, which is never shown
model        the values that the layers exchange
errors       every error

Each imports only what stands below it.  protocol.txt is the contract; lua/ holds the scripts that Redis runs.
"""

__version__ = "0.1.0"
