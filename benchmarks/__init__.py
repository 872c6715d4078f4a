"""Benchmarks: each runs peers and us on the same work and prints a table of ratios."""
