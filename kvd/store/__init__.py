"""The store: what sessions and watches ask, and who answers it.

api         what any store is asked
location    where the store is, and how it is opened
redis       a Redis or Valkey
replicated  several of them, which replicate each other
"""
