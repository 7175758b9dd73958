"""KServe as far as a rollout sees it: its kinds, and a writer of the statuses that its controller documents.

This is not KServe. The kinds are small definitions of our own with the rules of KServe's webhook that a schema can
hold; the writer plays the transitions that KServe's API types and reconcilers describe, without pods and gateways.
"""

from pathlib import Path

from testbed.kserve.status import BROKEN, SLOW, StatusWriter

CRDS = Path(__file__).with_name("crds.yaml")

__all__ = ["BROKEN", "CRDS", "SLOW", "StatusWriter"]
