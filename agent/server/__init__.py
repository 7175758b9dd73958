"""The agent's HTTP face: probes, metrics, and a read-only JSON API about everything it knows."""
