"""Parts that tests, fault injection and benchmarks share: a mosquitto, a browser, a flood of messages, findings.

It contains no tests.
"""
