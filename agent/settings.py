"""Everything that the command line and the environment decide, as one frozen value."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from agent.gates import FeatureGates

CONTROLLERS = ("source", "kustomize", "canary")
DIGEST_ALGORITHMS = ("sha256", "sha384", "sha512", "blake3")
WATCHED_CONFIGS = "reconcile.fluxcd.io/watch=Enabled"
_SSH_ALGORITHM = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9@.-]*")
_WORKERS = {"source": 2, "kustomize": 4, "canary": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a listener binds: `host:port`, or `:port` for all interfaces."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises ValueError for a text that is not `[host]:port`."""
        host, separator, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        plain = (":" in bare) == (bare != host)  # IPv6 addresses, and only they, are written in brackets
        if not separator or not plain or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            msg = f"address {text!r} is not of the form host:port, [IPv6]:port or :port"
            raise ValueError(msg)
        return cls(host=bare or "0.0.0.0", port=int(port))  # noqa: S104 - a server in a Pod has to

    def __str__(self) -> str:
        """`host:port`, as it is parsed."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectionSettings:
    """Leader election, with Flux's defaults; seconds. Raises ValueError unless duration > deadline > period > 0.

    The lease is in `namespace`, and if that is "" in the agent's own.
    """

    enabled: bool = False
    namespace: str = ""
    lease_duration: float = 35.0
    renew_deadline: float = 30.0
    retry_period: float = 5.0
    release_on_cancel: bool = True

    def __post_init__(self) -> None:
        if not self.lease_duration > self.renew_deadline > self.retry_period > 0:
            msg = "leader election: the lease's duration has to exceed the renew deadline, and that the retry period"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The agent's settings. Names follow Flux's and Flagger's flags; seconds unless said otherwise.

    Raises ValueError for values that contradict each other.
    """

    controllers: tuple[str, ...] = CONTROLLERS
    kubeconfig: str = ""
    master: str = ""
    runtime_namespace: str = "flux-system"
    watch_all_namespaces: bool = True
    watch_label_selector: str = ""
    watch_configs_label_selector: str = WATCHED_CONFIGS
    gates: FeatureGates = field(default_factory=FeatureGates)
    concurrent: int | None = None
    requeue_dependency: float = 30.0
    interval_jitter: float = 0.05
    min_retry_delay: float = 0.75
    max_retry_delay: float = 900.0
    kube_api_qps: float = 50.0
    kube_api_burst: int = 300
    shutdown_grace: float = 20.0

    concurrent_ssa: int = 4
    renderers: int = 2
    verify: bool = False
    http_retry: int = 9
    custom_apply_stage_kinds: frozenset[str] = frozenset()
    override_managers: tuple[str, ...] = ()
    no_cross_namespace_refs: bool = False
    default_service_account: str = ""
    default_decryption_service_account: str = ""
    default_kubeconfig_service_account: str = ""
    tenant_reads_variables: bool = False
    insecure_kubeconfig_exec: bool = False
    insecure_kubeconfig_tls: bool = False
    sops_age_secret: str = ""
    sops_vault_configmap: str = ""

    storage_path: Path = Path("/data")
    storage_addr: Address = field(default_factory=lambda: Address.parse(":9090"))
    storage_adv_addr: str = ""
    source_controller_localhost: str = ""
    source_watcher_localhost: str = ""
    artifact_retention_ttl: float = 60.0
    artifact_retention_records: int = 2
    artifact_digest_algo: str = DIGEST_ALGORITHMS[0]
    ssh_kex_algos: tuple[str, ...] = ()
    ssh_hostkey_algos: tuple[str, ...] = ()
    token_cache_max_size: int = 100
    token_cache_max_duration: float = 3600.0

    health_addr: Address = field(default_factory=lambda: Address.parse(":9440"))
    metrics_addr: Address = field(default_factory=lambda: Address.parse(":8080"))
    api_addr: Address = field(default_factory=lambda: Address.parse(":9980"))
    events_addr: str = ""
    log_level: str = "info"
    log_encoding: str = "json"

    metrics_server: str = "http://prometheus:9090"
    event_webhook: str = ""
    mesh_provider: str = "gatewayapi:v1"
    selector_labels: tuple[str, ...] = ("app", "name", "app.kubernetes.io/name")
    include_label_prefixes: tuple[str, ...] = ()
    ingress_annotations_prefix: str = "nginx.ingress.kubernetes.io"
    enable_config_tracking: bool = True
    canary_namespace: str = ""
    cluster_name: str = ""
    slack_url: str = field(default="", repr=False)
    slack_token: str = field(default="", repr=False)
    slack_proxy_url: str = ""
    slack_user: str = "flagger"
    slack_channel: str = ""
    msteams_url: str = field(default="", repr=False)
    msteams_proxy_url: str = ""
    minimum_analysis_interval: float = 10.0

    election: ElectionSettings = field(default_factory=ElectionSettings)
    idle_flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.min_retry_delay > self.max_retry_delay:
            raise ValueError("--min-retry-delay exceeds --max-retry-delay")
        for flag, names in (("kex", self.ssh_kex_algos), ("hostkey", self.ssh_hostkey_algos)):
            for name in names:
                if not _SSH_ALGORITHM.fullmatch(name):
                    raise ValueError(f"--ssh-{flag}-algos: {name!r} is not the name of an algorithm")
        if self.canary_namespace and self.runs("kustomize"):
            raise ValueError("--namespace needs --controllers=canary: the kustomize role has to know all Canaries")
        identity = self.default_decryption_service_account or self.default_kubeconfig_service_account
        if identity and not self.gates.object_level_workload_identity:
            raise ValueError(
                "--default-decryption-service-account and --default-kubeconfig-service-account need "
                "--feature-gates=ObjectLevelWorkloadIdentity=true"
            )

    @property
    def namespace(self) -> str | None:
        """The only namespace to watch, None for all."""
        return None if self.watch_all_namespaces else self.runtime_namespace

    def runs(self, controller: str) -> bool:
        """True if this process runs that controller."""
        return controller in self.controllers

    def object_name(self, purpose: str) -> str:
        """The name of an object of the agent's own, such as its Lease.

        Shards, which differ in their label selector, each have one of their own, as in Flux; and so do agents that
        differ in their roles, as Flux's controllers do.
        """
        roles = [role for role in CONTROLLERS if self.runs(role)]
        some = "" if len(roles) == len(CONTROLLERS) else f"-{'-'.join(roles)}"
        selector = self.watch_label_selector
        suffix = f"-{hashlib.sha256(selector.encode()).hexdigest()[:8]}" if selector else ""
        return f"weir{some}-{purpose}{suffix}"

    def workers(self, controller: str) -> int:
        """Passes at once over one kind of that controller; Flux's controllers differ in their defaults."""
        return self.concurrent or _WORKERS[controller]

    def advertised(self) -> str:
        """Host (and port) under which artifacts are downloaded, as it goes into their URLs."""
        if self.storage_adv_addr:
            return self.storage_adv_addr
        return f"source-controller.{self.runtime_namespace}.svc.cluster.local."
