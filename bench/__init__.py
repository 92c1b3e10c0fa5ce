"""The benchmark: kvd and other systems under the same load, side by side."""
