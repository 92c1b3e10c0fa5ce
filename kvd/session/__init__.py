"""One connection.

login        who the peer is, and what it may do
peer         what the kernel knows of it
identified   whom the transport says that the peer is, as a user
auth         the users of one process, and all logins
listing      ranges of keys, as far as the peer may read them
checked      requests answered where there are users
output       what goes to the peer: replies in order, pushed lines between them, bounded
watching     the connection's watch, and how it catches up
syncing      a copy, and from there on a watch
carrying     a watch of what is older than this daemon knows
progress     PROGRESS: one timer for all connections
transaction  the writes between BEGIN and COMMIT
committing   COMMIT
deleting     DEL of a range, piece by piece
paged        replies of any number of lines
limits       what connections are held to, what is said of it, and where it is counted
elsewhere    what is asked of another daemon, of whose store this one has a copy
reaching     requests that wait for a position
in_flight    how many requests may be at the store at once
budget       one budget of memory for what all connections hold
rounds       all connections, looked at every few seconds: what they hold, and what takes them too long
clients      who is connected, in all processes of the daemon
context      what the sessions of one daemon share
handlers     requests that are done alone
waiting      lines that wait: as requests, and in groups
chunks       whole chunks of the commonest requests: ask the store, answer
dispatch     requests in groups: ask the store, answer
counting     requests counted by verb and result, with their times
complaints   what the log is told of peers
linger       its end, without a loss of what the peer has not read yet
streams      asyncio's streams, whose input is taken as it arrives
kept_input   input that came while the connection was busy
conversation  what the peer sends, and the answers, in their order
connection   the connection from its first byte to its end
"""
