"""One training run: its slices, its steps, its curves.

Where slices come from belongs to ``data``; several runs in a row belong to ``recipe``.
"""
