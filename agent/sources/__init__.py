"""Where readings come from: one file a source, found by its name in ``agent.registry``."""
