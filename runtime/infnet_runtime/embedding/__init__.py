"""What a C++ program that embeds the runtime needs to be told from Python: where its header lies.

The header, the CMake package and the example themselves are no Python and lie in ``runtime/embedding``; the
wheel carries them in this folder. What a host calls, from Python or C++, is in ``segment`` and ``host``.
"""
