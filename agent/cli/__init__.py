"""The command line: `main` has the parser, and each larger command has a file of its name.

It prints for a person and turns errors into exit codes. The daemon imports nothing from here.
"""
