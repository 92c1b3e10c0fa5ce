"""Tests of the daemon as processes: start and end, workers, sockets, hostile input."""
