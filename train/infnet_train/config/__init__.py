"""What a run can be told, and how it is filled from TOML.

A part of the loop takes its own part of the configuration; nothing is computed here.
"""
