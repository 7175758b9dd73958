"""What the command line decides for Canaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from agent.core.rollout.alerting import Chat
from agent.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class CanarySettings:
    """Named after Flagger's flags.

    `mesh_provider` and `metrics_server` stand in where a Canary names none; `selector_labels` are the labels by which
    target and primary may be told apart; labels with one of `include_label_prefixes` are carried over to the primary.
    `minimum_interval`: seconds between two checks at least. `event_webhook`: where events go of Canaries without an
    event hook. `ingress_annotations_prefix`: where ingress-nginx looks for its annotations.
    Without `enable_config_tracking` ConfigMaps and Secrets are neither watched for changes nor copied. `chat` gets the
    alerts of Canaries that name no provider, `cluster_name` is in all alerts. `namespace` is the
    only one that is looked into.
    """

    mesh_provider: str = "kubernetes"
    metrics_server: str = "http://prometheus:9090"
    selector_labels: tuple[str, ...] = ("app", "name", "app.kubernetes.io/name")
    include_label_prefixes: tuple[str, ...] = ()
    minimum_interval: float = 10.0
    event_webhook: str = ""
    ingress_annotations_prefix: str = "nginx.ingress.kubernetes.io"
    no_cross_namespace_refs: bool = False
    enable_config_tracking: bool = True
    namespace: str | None = None
    cluster_name: str = ""
    chat: Chat | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the agent."""
        return cls(
            mesh_provider=settings.mesh_provider,
            metrics_server=settings.metrics_server,
            selector_labels=settings.selector_labels,
            include_label_prefixes=settings.include_label_prefixes,
            minimum_interval=settings.minimum_analysis_interval,
            event_webhook=settings.event_webhook,
            ingress_annotations_prefix=settings.ingress_annotations_prefix,
            no_cross_namespace_refs=settings.no_cross_namespace_refs,
            enable_config_tracking=settings.enable_config_tracking,
            namespace=settings.canary_namespace or settings.namespace,
            cluster_name=settings.cluster_name,
            chat=_chat(settings),
        )


def _chat(settings: Settings) -> Chat | None:
    """The chat of the command line; MS Teams comes before Slack, as with Flagger."""
    if settings.msteams_url:
        return Chat(kind="msteams", address=settings.msteams_url, proxy=settings.msteams_proxy_url)
    if settings.slack_url:
        return Chat(
            kind="slack",
            address=settings.slack_url,
            token=settings.slack_token,
            proxy=settings.slack_proxy_url,
            username=settings.slack_user,
            channel=settings.slack_channel,
        )
    return None
