"""Slices: from the public sets and pictures to batches, and what is checked on the way.

How a slice becomes network input belongs to ``infnet_runtime.slices``; which slices a run draws is said by
its configuration.
"""
