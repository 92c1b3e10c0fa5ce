"""Faults that were reported, of kvd or of its like: one test each, named after what was reported."""
