"""Watching: from the store's change log to those who watch.

follower     reads the change log, and hands on every change, in order, once
hub          hands changes to watchers
watcher      one watch
groups       the watchers that want their lines in one form
rendering    the lines, in the form that is asked for
index        which key each kept change is of
memory       changes in memory
portions     steps of catching up that several are given
beginnings   a crowd that begins to watch, by portions
catching_up  serves the watchers that are not up to date
pages        pages of the store's keys, read once for all copies
told         what a copy has sent so far
snapshot     SYNC's copy
spread       when those that are sent away are to come back
"""
