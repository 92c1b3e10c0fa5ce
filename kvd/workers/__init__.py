"""Several processes that serve: they share the port, the store, and the memory that keeps their caches right.

config    what a worker is told
others    what workers ask each other, through their parent
pool      the parent's side: they are started, watched, started again, stopped
__main__  a worker (`python -m kvd.workers`, which only the parent runs)
"""
