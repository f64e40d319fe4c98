"""Development tools: demo, dashboard, benchmarks, fuzzing, fault injection and digests of behaviour."""
