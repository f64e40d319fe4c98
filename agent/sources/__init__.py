"""Sources of readings: one file a source; `registry` finds each by its `type` in the configuration.

A source reads values; it does not judge, store or send them. Each source defines its own configuration keys, and only
the sources that a configuration names are imported.
"""
