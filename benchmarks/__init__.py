"""Figures, each beside its limit; `python -m benchmarks` runs them."""
