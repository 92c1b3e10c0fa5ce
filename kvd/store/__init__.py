"""The store: what sessions and watches ask, and who answers it.

redis  a Redis or Valkey
"""
