"""The paper's tables measured again; the command is ``benchmarks/paper_tables.py``."""
