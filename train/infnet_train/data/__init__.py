"""Slices: from the public sets and pictures to batches, and what is checked on the way.

How a slice becomes network input belongs to ``infnet_runtime.slices``. What can be told about a source, its
augmentation and its batches is declared beside them; ``config``, which puts them together, is above.
"""
