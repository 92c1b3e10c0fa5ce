"""The store on Redis or Valkey servers that replicate each other, with Sentinels or as a cluster.

A daemon seeks the primary, attaches to it, and serves, until one of those who watch over it has doubts; then it closes
all its connections and seeks anew.  What a batch has written is acknowledged, and what was read is shown, when so many
replicas have it as --durability says, and no failover had begun by then: that is the *confirmed* position.  A primary
that was replaced without knowing it can confirm nothing, and so what it holds is seen by nobody.

primary     where the primary is, and what speaks against it
witness     one server that is asked that over and over
sentinels   those of Sentinel
cluster     those of a cluster: its nodes
guard       knows the primary, and closes connections to one that may be none any more
connecting  connections to the primary
confirmed   up to which position enough replicas have the change log
writes      batches that are acknowledged when they are confirmed
reads       single keys, given when what was found is confirmed
calls       other calls, and the change log, the same way
replicas    the replicas that follow the primary
logs        the change log of one of them
attaching   whether a primary has all that was confirmed
checks      whether the servers are set up to keep their word
parts       all of it, as a store takes it
"""
