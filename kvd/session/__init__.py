"""One connection, what is asked on it, and what all connections share.

From bytes to replies, in their order:

streams       asyncio's streams, whose input is taken as it arrives
kept_input    input that came while a connection was busy, and when more of it is read
background    connections that watch give way to others
conversation  what one peer sends, and the answers, in their order
waiting       lines that wait to be answered: as requests, and in groups
chunks        whole chunks of the commonest requests: ask the store, answer
dispatch      all other requests, in groups: ask the store, answer
handlers      requests that are done alone
paged         replies of any number of lines
listing       ranges of keys, as far as the peer may read them
deleting      DEL of a range, piece by piece
transaction   the writes between BEGIN and COMMIT
committing    COMMIT
output        what goes to the peer: replies in order, pushed lines between them, bounded
unsent        what a transport keeps of what it was given
linger        the end, without a loss of what the peer has not read yet
connection    one connection from its first byte to its end

Watches:

watching      the watch of one connection, and how it catches up
syncing       a copy, and from there on a watch
carrying      a watch of what is older than this daemon knows
progress      PROGRESS: one timer for all connections

Users:

auth          the users of one process, and all logins
identified    whom the transport says that a peer is, as a user
login         who the peer of one connection is, and what it may do
checked       the same dispatcher, where a peer may not do everything

Limits, and what is told of connections:

limits        what connections are held to, what is said of it, and where it is counted
budget        one budget of memory for what all connections hold
rounds        all connections, looked at every few seconds: what they hold, and what takes them too long
in_flight     how many requests may be at the store at once
clients       who is connected, in all processes of the daemon
peer          what the kernel knows of a peer
counting      requests counted by verb and result, with their times
complaints    what the log is told of peers

Other daemons, and all sessions together:

elsewhere     what is asked of another daemon, of whose store this one has a copy
reaching      requests that wait for a position
context       what the sessions of one daemon share
"""
