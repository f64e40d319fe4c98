"""From frames to verdicts: detectors, forecasts, scores and thresholds.

Everything is causal: a frame is judged by the frames before it, then learned. Texts, messages and incidents belong to
other packages.
"""
