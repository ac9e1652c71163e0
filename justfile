# One definition of clean, for people, hooks and CI.
export PATH := justfile_directory() / ".venv/bin:" + env("PATH")

# Everything that must hold before a change lands.
check: format-check lint types imports test

# Rewrite the code in the house format.
format:
    ruff check --fix-only -q
    ruff format -q

format-check:
    ruff format --check

lint:
    ruff check

types:
    mypy

# Who may import whom.
imports:
    lint-imports

# All tests; those that need data say so and skip where it is absent.
test *options:
    python -m pytest {{options}}

# Tests that take seconds, without data.
quick:
    python -m pytest -q -m "not slow and not data"

# Dice of the lung finder on labelled lungs.
bench-lungs:
    python benchmarks/lungs.py

# Goals for speed and size, with this machine's ratios; give scans to measure on them instead of phantoms.
bench *arguments:
    python benchmarks/goals.py {{arguments}}
