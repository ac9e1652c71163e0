"""infnet against two groups of readers: the parts of ``benchmarks/validation.py``."""
