"""What a model file says about itself, and the checks before it is used.

Files and their contents, and where the shipped ones lie; running a network belongs to ``backends``.
"""
