"""Rolling thresholds: each learns which size of error is normal, one method a file.

`base` has the protocol, `registry` makes the one that a configuration names. A threshold sees errors, not readings.
"""
