"""One connection.

output      what goes to the peer: replies in order, pushed lines between them, bounded
watching    the connection's watch
session     read, parse, ask the store, answer
"""
