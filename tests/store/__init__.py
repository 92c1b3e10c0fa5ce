"""Tests of the store on Redis, of the embedded server, and of what survives its end."""
