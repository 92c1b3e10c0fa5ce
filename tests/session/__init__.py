"""Tests of conversations: sessions over memory, and what clients see of one daemon."""
