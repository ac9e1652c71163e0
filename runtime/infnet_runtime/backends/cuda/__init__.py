"""A GPU: its driver, and its memory, streams and graphs through each package that offers them.

Nothing here knows networks; what is computed on the GPU belongs to the sessions beside this folder.
"""
