"""What ``benchmarks/fuzz.py`` is made of: spoilt files of each kind, and their reading in child processes.

Case ``n`` of a kind depends on the kind's name, the seed and ``n`` alone, so that one can be looked at again.
"""
