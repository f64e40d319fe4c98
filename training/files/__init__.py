"""Atomic writing of files and folders, and the errors of a full or read-only disk.

The package does not depend on the content of the files.
"""
