"""From sources to frames: the sampler, rules for channels, derived channels, and the recorder.

It decides when a reading is taken and which channel it belongs to, and does not judge values beyond their plausible
range.
"""
