"""What only a program needs that has its volumes in memory: its buffers, taken as they are and filled.

A volume as a file gives it belongs to ``io``; what is done with its voxels belongs to ``segment``.
"""
