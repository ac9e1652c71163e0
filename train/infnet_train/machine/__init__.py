"""The device and the processes that a run has.

Nothing here knows networks or data; what every process does belongs to ``run``.
"""
