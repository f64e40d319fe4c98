"""Rolling thresholds, which learn the normal size of errors; one method per file.

`base` defines the protocol, `registry` makes the configured threshold. Thresholds learn errors, not readings.
"""
