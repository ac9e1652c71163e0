"""The same graph in half precision or 8 bit, and what that may cost.

Whether it may be shipped is decided by ``proof``.
"""
