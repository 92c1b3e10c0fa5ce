"""kvd: a key-value daemon that any program with a socket can read, write and watch."""

__version__ = "0.1.0"
