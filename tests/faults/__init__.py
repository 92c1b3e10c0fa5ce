"""The fault test: a daemon under load, killed, stopped, cut off and filled up, and every promise checked afterwards.

history          what happened: requests, replies, watches and their lines
connection       a recording client
workload, crew   who writes and reads
watchers         who watches
clients, cutter  who watches with the clients that people use, by a way that can be cut
faults           what is done to the daemon
processes        how it is ended and comes back
run, report      all of it put together, and what was done
failover         another test, of several servers, whose primaries are lost
timeline         the changes, as the story of each key
numbered         keys that the server makes
families         keys that live with others
attribution      which request made which change
linearizability  whether an order of requests exists that explains every reply
expiry, watching, reading, refusals, checks
                 the rest of what must hold

From `timeline` on all is pure: a recorded history in, nothing or a `Violation` out.
"""
