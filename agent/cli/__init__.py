"""The command line: `main` has the parser; each larger command has a file of its name.

It prints for people and maps errors to exit codes. The daemon imports nothing from here.
"""
