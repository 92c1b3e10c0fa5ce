"""Everything that asks Redis.

link    one connection, and the scripts of lua/
lanes   queues in front of a connection: group commit
reads   single keys
writes  numbered batches, applied at most once
store   all of it, in kvd's terms
"""
