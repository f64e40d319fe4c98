"""For the person at a workstation: the demo, its live view, benchmarks and fault injection."""
