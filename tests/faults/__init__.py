"""Faults: a real service under load, a real Collector, and something that goes wrong meanwhile.

``python -m tests.faults --help`` says how to run it; the results stand in
``docs/explanation/faults.md``.
"""
