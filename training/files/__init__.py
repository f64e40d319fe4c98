"""Files that are written whole or not at all, and what a full disk says.

It knows nothing of what is in the files.
"""
