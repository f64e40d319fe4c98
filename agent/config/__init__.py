"""The configuration as a whole: YAML to typed settings, with every mistake reported at once.

Each package defines its sections and their defaults in a module `settings`; this package composes them. Only
`agent.service` and `agent.cli` use the whole configuration.
"""
