"""Tests of what needs no process and no store: the wire, the hub, the caches, plans and settings."""
