"""A CT scan: its voxels, their place in the patient and what their values mean.

Nothing here knows files, networks or results; whatever holds for every scan belongs here.
"""
