"""Watching: from the store's change log to those who watch.

follower  reads the change log, and hands on every change, in order, once
hub       hands changes to watchers
snapshot  SYNC's copy
"""
