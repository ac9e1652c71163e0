"""Whether a scan can be what it is taken for: its values, its geometry, its resolution, its lungs.

What cannot be right is refused with an error; what is doubtful gets a flag that warns, so that nobody reads a
number unwarned. Each rule is measured on all scans at hand (``benchmarks/plausibility.py``): no good scan is
refused. How lungs are found belongs to ``lungs``, how a header is read to ``io``.
"""
