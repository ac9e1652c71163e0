"""The command ``infnet-train``.

A command parses, calls one function and prints; nothing is computed here. What all command lines share is in
``infnet_runtime.cli``.
"""
