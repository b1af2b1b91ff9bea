"""Rounds: a Prometheus exporter that makes the rounds of what operations people must not lose sight of."""
