"""Inf-Net in export: how it is rewritten, and what it says of its own parts.

What holds for any network belongs to the folder above.
"""
