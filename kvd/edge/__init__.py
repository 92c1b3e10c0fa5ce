"""An edge: a daemon without a store, which keeps a copy of what another daemon serves, and serves that.

One FOLLOW of the protocol itself feeds the copy, and the hub that hands changes on, so that an edge is a back end as
any other (`store.api`).  What it cannot do from its copy it asks the daemon that it follows, the upstream: writes go
there as they come, and their replies are held until the copy has what they did.

location    the edge's store, as a daemon opens it
store       the store that sessions ask
reading     what is answered from the copy
proof       whether the copy is up to date
freshness   until when the copy may be shown, and replies that wait for it
copy        the keys
clock       the store's clock, as far as it is known here
feed        keeps the copy up to date
parsing     the lines of the feed
pipe        requests to the upstream, pipelined
forwarding  writes, which go to the upstream
deleting    DEL of a range, which goes there as well
writing     writes as lines, replies as outcomes
lives       how long keys live, which the upstream is asked
relaying    requests that the upstream answers whole
tunnel      a watch of what is older than the edge knows
lines       a connection to the upstream, line by line
upstream    which daemon is followed, and how it is reached
"""
