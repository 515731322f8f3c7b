"""Benchmarks: samples by split, and how answers are scored."""
