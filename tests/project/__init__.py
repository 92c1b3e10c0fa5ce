"""Tests of what stands around the code: pages, packaging, examples, the benchmark."""
