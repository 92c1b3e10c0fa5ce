"""One connection.

output      what goes to the peer: replies in order, pushed lines between them, bounded
watching    the connection's watch, and how it catches up
copying     SYNC's copy
transaction what stands between BEGIN and COMMIT
answers     parse, ask the store, answer
session     the connection from its first byte to its end
"""
