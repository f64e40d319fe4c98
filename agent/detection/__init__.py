"""From frames to verdicts: detectors, forecasts, scores and thresholds.

Everything is causal: a frame is judged by what was learned before it. No text is worded, nothing is sent, and no
incident is known here.
"""
