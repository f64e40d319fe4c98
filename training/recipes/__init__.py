"""Complete procedures: fit a bundle to recordings, or build the universal bundle."""
