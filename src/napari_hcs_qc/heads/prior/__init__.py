"""The prior: scores of the cells of a plate before the first annotation.

Made by ``benchmarks/make_prior.py`` and measured by ``benchmarks/bench_prior.py``.
"""
