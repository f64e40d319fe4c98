"""Sources to frames: sampler, channel rules, derived channels, and recorder.

This package decides when a reading is taken and to which channel it belongs. It removes implausible values; all other
judgement is the detector's.
"""
