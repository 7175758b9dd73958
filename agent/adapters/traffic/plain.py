"""Provider `kubernetes`: plain Services. There are no weights; clients reach the primary until it is replaced."""

from __future__ import annotations

from agent.api.canary import Canary
from agent.core.rollout.actions import Weights
from agent.core.rollout.affinity import Cookies

NOWHERE = Weights(0, 0)


class PlainRouter:
    """Nothing to route: the three Services are all there is."""

    async def reconcile(self, canary: Canary, cookies: Cookies) -> None:
        """Nothing to create."""

    async def get_routes(self, canary: Canary) -> Weights:  # noqa: ARG002 - the protocol's parameter
        """No traffic is ever routed to the canary."""
        return NOWHERE

    async def set_routes(self, canary: Canary, weights: Weights, cookies: Cookies) -> None:
        """Nothing to move."""

    async def finalize(self, canary: Canary) -> None:
        """Nothing to let go of."""
