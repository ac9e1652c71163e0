"""What works on a machine, and how fast.

It tries what the other folders offer; what is said about one scan belongs to ``report``.
"""
