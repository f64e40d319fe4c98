"""Reports of a fit, an evaluation and a replay, and overviews of data and bundles."""
