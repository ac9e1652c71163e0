"""A result for people and for machines.

It writes down what ``measure`` counted and ``segment`` found, and computes nothing.
"""
