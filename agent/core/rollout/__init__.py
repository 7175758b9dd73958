"""Progressive delivery as pure decisions: what a Canary needs next, given what the world looks like now."""
