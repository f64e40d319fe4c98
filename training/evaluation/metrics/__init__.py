"""Metrics of detection by family: points, events, rankings, NAB. Their inputs are arrays of scores and labels."""
