"""From masks to numbers: millilitres, shares of the lung, and why a number is missing.

Arithmetic on masks and grids alone; how a number is written down belongs to ``report``.
"""
