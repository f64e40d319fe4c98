"""Malformed input from outside: targets, mutations, and an examiner that runs them in a child process.

Each target is one kind of input, with a check that it is used or refused as documented.
"""
