"""Parts of the guides that are generated: tables of keys, the description of all topics, pictures.

It writes into docs/ and is not needed at run time.
"""
