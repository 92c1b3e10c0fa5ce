"""The failover test: primaries are lost under load, and what was promised and is not so is counted afterwards.

seen      what the clients saw
peer      a connection of a client
load      who writes
reading   who reads, from a root and from an edge
expiring  keys with a time to live
watching  who watches, and goes on at another daemon
faults    what is done to the servers, their network and the daemons
judging   the columns of a run, and which of them must be 0
order     whether what was seen is linearizable
run       one run, on servers of its own
table     the table of many runs
"""
