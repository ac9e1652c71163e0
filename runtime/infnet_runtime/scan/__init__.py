"""A CT scan: its voxels and their grid, what the values mean, its lungs, and which scan it is.

Nothing here knows files, networks or results; whatever holds for every scan belongs here.
"""
