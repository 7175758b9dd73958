"""Is an object healthy? One pure function a kind, and the generic rule for all others.

The rules are those of kstatus (`sigs.k8s.io/cli-utils`) with Flux's Job override: what a Flux user sees in a health
check is what Weir reports. `status_of` is the face of the package.
"""

from __future__ import annotations

from agent.core.health.rules import status_of
from agent.core.health.status import Health, Status

__all__ = ["Health", "Status", "status_of"]
