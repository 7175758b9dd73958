"""A Gateway API implementation in front of process nodes; see ProcessGateway for what it is and is not."""

from testbed.gateway.gateway import CONTROLLER, ProcessGateway

__all__ = ["CONTROLLER", "ProcessGateway"]
