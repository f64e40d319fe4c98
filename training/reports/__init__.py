"""Reports for people: of a fit, of an evaluation, of a replay, and short overviews.

They draw results that exist; they compute none.
"""
