"""Digests of the agent's behaviour, which show whether a change of its code changes anything it does."""
