# One definition of clean, for people, hooks and CI.
export PATH := justfile_directory() / ".venv/bin:" + env("PATH")

# What `just` alone prints.
[private]
@default:
    just --justfile {{justfile()}} --list --unsorted

# Everything that must hold before a change lands; a quarter of an hour on two cores.
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

# With worksteal each core begins with its own run of neighbours, so that most of what a folder shares is made
# once, the exported network above all, and no core waits at the end.

# All tests, on all cores; those that need data say so and skip where it is absent.
test *options:
    python -m pytest -n auto --dist worksteal {{options}}

# Tests without data and without what is slow, on all cores; two and a half minutes on two.
quick *options:
    python -m pytest -q -n auto --dist worksteal -m "not slow and not data" {{options}}

# Dice of the lung finder on labelled lungs.
bench-lungs:
    python benchmarks/lungs.py

# Goals for speed and size, with this machine's ratios; give scans to measure on them instead of phantoms.
bench *arguments:
    python benchmarks/goals.py {{arguments}}
