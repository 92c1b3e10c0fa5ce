"""Tests of the Python client and of kvctl."""
