"""The configuration as a whole: YAML to typed settings, with every mistake reported at once.

Each package owns its section in its own `settings`; this package composes the sections and has no defaults of theirs.
Only `agent.service` and `agent.cli` know the whole configuration.
"""
