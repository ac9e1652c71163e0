"""The command ``infnet-infer``, and what all command lines of infnet share.

A command parses, calls one function and prints; nothing is computed here.
"""
