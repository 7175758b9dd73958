"""Traffic routers: one for each provider that is implemented, behind one small interface."""

from __future__ import annotations

from agent.adapters.kube.client import KubeClient
from agent.adapters.loraservers import LoraServers
from agent.adapters.traffic.gatewayapi import GatewayRouter
from agent.adapters.traffic.istio import IstioRouter
from agent.adapters.traffic.knative import KnativeRouter
from agent.adapters.traffic.kserve import KServeRouter
from agent.adapters.traffic.nginx import NginxRouter
from agent.adapters.traffic.plain import PlainRouter
from agent.adapters.traffic.router import Router
from agent.core.rollout.plan import Provider

__all__ = [
    "GatewayRouter",
    "IstioRouter",
    "KServeRouter",
    "KnativeRouter",
    "NginxRouter",
    "PlainRouter",
    "Router",
    "router_for",
]


def router_for(provider: str, client: KubeClient, *, servers: LoraServers, ingress_prefix: str) -> Router | None:
    """The router of a provider, None if there is none for it. `ingress_prefix`: of ingress-nginx' annotations."""
    match provider:
        case Provider.KUBERNETES:
            return PlainRouter()
        case Provider.GATEWAY_API:
            return GatewayRouter(client)
        case Provider.ISTIO:
            return IstioRouter(client)
        case Provider.NGINX:
            return NginxRouter(client, ingress_prefix)
        case Provider.KSERVE:
            return KServeRouter(client, servers)
        case Provider.KNATIVE:
            return KnativeRouter(client)
        case _:
            return None
