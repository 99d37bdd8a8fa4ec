"""Fuzzing: every decoder of what others write, against bytes that nobody meant to send.

``python -m tests.fuzz --help`` says how to run it. ``tests/test_fuzz.py`` runs each target for a
moment in the plain suite.
"""
