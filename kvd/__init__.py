"""kvd: a key-value daemon that any program with a socket can read, write and watch.

__main__     the command `kvd`
cli          the command `kvctl`
daemon       the embedded store and who serves, this process or workers
taking_up    the store, as a daemon finds it at its start
keeping      what is done to a store while no daemon serves it: restore, check
workers      several processes that serve
server       one process that serves
admission    who is let in
exposure     who can reach the daemon
http         metrics, keys, watches and a live page for browsers and curl
service      what serves, without sockets
edge         a copy of what another daemon serves
measuring    every metric, as of now
session      one connection
verbs        the table of requests
watch        from the store's change log to watchers
store        the keys and their change log
embedded     the Redis or Valkey server that the daemon starts itself
client       the client library
process      what a process needs from the system
access       who may do what
wire         the line protocol, pure
reloadable   what is read from files, and anew when the daemon is told to
settings     what may be chosen, one field an option
config_file  options in a TOML file
addresses    where to listen
options      how an option is read, from the command line or the environment
counts       what processes count of the metrics
metrics      what a daemon tells of how it is doing
memory       the plan of memory: who may take how much
backoff      the pauses of whatever tries again
certificates  the daemon's certificate and key, and who signs those of clients
backup_file  the file of a backup
opening      how a file that is named in an option is opened, and read
validity     from when to when certificates are valid
credentials  the URL of a store, which is never shown
group_url    the URL of servers that replicate each other
requests     what clients ask for
model        the values that the layers exchange
asked_once   what many ask at the same time is asked once
errors       every error

Each imports only what is listed below it.  protocol.txt is the contract; lua/ holds the scripts that Redis runs.
"""

__version__ = "0.1.0"
