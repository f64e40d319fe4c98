"""Digests of the agent's behaviour: they show whether a code change alters any output."""
