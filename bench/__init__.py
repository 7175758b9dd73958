"""Measurements: of the agent's speed, and of how often its judges are right."""
