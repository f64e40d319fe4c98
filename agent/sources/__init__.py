"""Sources of readings: one file a source, found by its name in the configuration through `registry`.

A source reads values and nothing else: it does not judge, store or send them. Each source owns its part of the
configuration, and only those that a configuration names are imported.
"""
