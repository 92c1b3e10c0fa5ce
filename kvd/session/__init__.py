"""One connection.

output       what goes to the peer: replies in order, pushed lines between them, bounded
watching     the connection's watch, and how it catches up
copying      SYNC's copy
progress     PROGRESS: one timer for all connections
transaction  what stands between BEGIN and COMMIT
express      whole chunks of the commonest requests, answered in the callback in which they arrive
answers      all other requests: parse, ask the store, answer
complaints   what the log is told of peers
linger       its end, without a loss of what the peer has not read yet
session      the connection from its first byte to its end
"""
