"""Generated parts of the documents: tables of keys, description of topics, pictures.

Not needed at run time.
"""
