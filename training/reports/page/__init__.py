"""A report as one HTML page that needs nothing but itself: sections, charts, tables.

It draws what it is given and knows nothing of detection.
"""
