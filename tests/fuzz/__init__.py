"""Fuzzing: input that no client would send, against the pure layers and against a daemon.

inputs    makes input: random bytes, random words, valid sessions with mistakes in them
grammar   the lines that a server may send (protocol.txt, 14)
pure      bytes to requests, without a daemon
live      the same over sockets
"""
