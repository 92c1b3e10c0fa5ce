"""The store on a Redis or Valkey: everything that asks it.

scripts       those of lua/, as they are sent
connection    one connection
library       redis-py, which opens it where the store is somebody else's
engine        which run of the engine this is, and what it may lose
attach        whether a store is kvd's, and still has all that it acknowledged
note          on disk: where a store was when the last daemon on it ended in order
unsynced      on disk: that a store may answer before it has synced
durability    whether that was changed while it runs
clock         the store's clock, also while its machine's was set back
channel       a connection for one call at a time
patience      a connection that does not answer is given up
jobs          requests of one session, and the batches in which they go
batching      queues in front of a connection: group commit
reads         single keys
listing       ranges of keys, page by page
writes        numbered batches, applied at most once
general       all writes, as a script takes them
simple        the most usual writes, as the scripts take them
log           the change log, read forwards
changes       what a store tells of it to those who do not follow it
entries       of the change log, and the changes in them
flags         of records and of changes
records       as the store packs them
digest        whether an entry of the change log is what was written
maintenance   what the store does by itself: expiry, the limits of the change log, the length of the file
turns         of what the store does by itself, between which others are served
expiry        the sweep of expired keys, and counting while some are not swept yet
vitals        how the server is doing, for metrics
counted       how much there is of what users have quotas for
disk_space    whether the disk has space to write
cache         records that were read lately
shared_cache  the same cache where several workers write
checking      whether a store is whole, looked at part by part
checking_log  whether its change log is
findings      what may be wrong in a store, and what is done about it
mending       what is done about it, done
restoring     filling an empty store with the keys of a backup
parts         what a store is made of, that another set of parts replaces where there are several servers
first_look    whether a store is there, and one that may be used, before it is
single_keys   what a store does with single keys
store         all of it, in kvd's terms
"""
