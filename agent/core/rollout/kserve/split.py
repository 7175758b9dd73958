"""Two versions of one LoRA adapter in the same pods: what tells them apart, and who sends requests to which.

An InferenceModelRewrite (llm-d's endpoint picker; before 1.6 Gateway API Inference Extension) replaces the model that a
request names by one of several, by weight. So the new adapter is loaded beside the old one under a name of its own, and
the public name is split between the two. Its rules, as the endpoint picker reads them: the oldest object with an exact
match for a model counts; a weight is at least 1; `poolRef` is compared by group and name.

Facts about KServe's pods are those of its configurations of 2026: the server is the container `main`, registers each
adapter under `name` and `publishers/<namespace>/models/<name>`, and speaks TLS if `--ssl-certfile` is in its words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from agent.core.objects import Manifest
from agent.core.rollout.knative import child_name
from agent.core.rollout.readiness import READY, Readiness

REWRITE: Final = "InferenceModelRewrite"
REWRITE_APIS: Final = ("llm-d.ai/v1alpha2", "inference.networking.x-k8s.io/v1alpha2")
"""Where the kind is served, the one that the endpoint picker prefers first: it ignores the other one then."""
POOL_GROUP: Final = "inference.networking.k8s.io"
PREFIX: Final = "/v1"
"""Of the paths by which vLLM loads adapters."""
_ALL: Final = 100
_CONTAINER: Final = "main"
_PORT: Final = 8000
_ALLOWS: Final = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
_KEYS: Final = frozenset({"VLLM_API_KEY"})
_MORE_WORDS: Final = "VLLM_ADDITIONAL_ARGS"
_TRUE: Final = frozenset({"1", "true"})
_NAME: Final = re.compile(r"[\w./-]+", re.ASCII)
_HUB: Final = re.compile(r"hf://(\w[\w.-]*/\w[\w.-]*)", re.ASCII)
_SEVERAL: Final = ("worker", "prefill")
_SEVERAL_WORDS: Final = re.compile(r"--(api-server-count|data-parallel-size|headless)\b")


class Split(msgspec.Struct, frozen=True):
    """The public name of an adapter, the one under which its new version is loaded on trial, and where that is from."""

    adapter: str
    tried: str
    path: str


class ServingPod(msgspec.Struct, frozen=True, kw_only=True):
    """A pod that serves. `served` are its models by name with where each is from, None if it was not asked or did not
    tell; `fault` is why the last attempt to load failed, `hopeless` if the server itself refused."""

    name: str
    url: str
    unable: str = ""
    """Why it cannot load adapters while it runs, as far as its spec tells."""
    served: Mapping[str, str | None] | None = None
    fault: str = ""
    hopeless: bool = False


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """What a split needs to know of the cluster. `refusal`: why the Canary cannot be judged by names. `api` is where
    InferenceModelRewrites are served, "" if nowhere; `rewrites` are all of the namespace."""

    refusal: str = ""
    api: str = ""
    rewrites: tuple[Manifest, ...] = ()
    pods: tuple[ServingPod, ...] = ()
    unready: tuple[ServingPod, ...] = ()
    """Those that have ceased to be ready while their servers run: they may serve again any moment."""

    def named(self, name: str) -> Manifest | None:
        """The rewrite of that name."""
        return next((one for one in self.rewrites if one["metadata"]["name"] == name), None)


class NoSplitError(Exception):
    """Why the new adapter needs pods of its own, in words."""


def touches_adapters(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether the adapters of two revisions of an LLMInferenceService differ."""
    return _adapters(before) != _adapters(after)


def has_adapters(content: Mapping[str, Any]) -> bool:
    """Whether a revision of an LLMInferenceService has any."""
    return bool(_adapters(content))


def split_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> Split:
    """How the one adapter that differs between two revisions is told apart. Raises NoSplitError."""
    old, new = _adapters(before), _adapters(after)
    if _without_uris(before) != _without_uris(after):
        raise NoSplitError("more than the address of one adapter differs")
    changed = [(one, other) for one, other in zip(old, new, strict=True) if one.get("uri") != other.get("uri")]
    if len(changed) != 1:
        raise NoSplitError(f"{len(changed)} adapters differ, one at a time can be split")
    name, uri = str(changed[0][1].get("name") or ""), str(changed[0][1].get("uri") or "")
    found = _HUB.fullmatch(uri)
    if found is None:
        raise NoSplitError(
            f"a server that runs cannot load {uri or 'an adapter without address'}, as it can hf://owner/name"
        )
    if not _NAME.fullmatch(name):
        raise NoSplitError(f"adapter {name!r} has a name that cannot be told apart in metrics")
    several = [field for field in _SEVERAL if after.get(field)]
    if several or (after.get("parallelism") or {}).get("data"):
        raise NoSplitError(f"its servers are several processes each ({', '.join(several) or 'parallelism.data'})")
    return Split(name, f"{name}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}", found[1])


def require(split: Split, pool: Pool, spec: Mapping[str, Any], namespace: str, name: str) -> None:
    """Raises NoSplitError where the cluster, or the service of that name, cannot serve a split."""
    if pool.refusal:
        raise NoSplitError(pool.refusal)
    if not pool.api:
        raise NoSplitError(f"the cluster serves no {REWRITE} that may be read")
    scheduler = (spec.get("router") or {}).get("scheduler")
    if scheduler is None:
        raise NoSplitError("it has no spec.router.scheduler, whose endpoint picker would rewrite names")
    if (scheduler.get("pool") or {}).get("ref"):
        raise NoSplitError(
            "spec.router.scheduler.pool.ref has an endpoint picker of somebody else's, whose metrics are unknown"
        )
    rival = next(_rivals(split, pool, namespace, name), "")
    if rival:
        raise NoSplitError(f"{REWRITE} {rival} of somebody else rewrites adapter {split.adapter}, or has our name")
    if not pool.pods:
        raise NoSplitError("no pod of it serves")
    for pod in pool.pods:
        if pod.unable:
            raise NoSplitError(f"pod {pod.name}: {pod.unable}")


def pool_name(name: str) -> str:
    """The InferencePool that KServe makes for an LLMInferenceService."""
    return child_name(name, "-inference-pool")


def public_names(split: Split, namespace: str) -> tuple[str, ...]:
    """The names by which clients ask for the adapter."""
    return (split.adapter, f"publishers/{namespace}/models/{split.adapter}")


def rewriting(
    split: Split, api: str, percent: int, *, namespace: str, name: str, pool: str, owner: Mapping[str, Any] | None
) -> Manifest:
    """The InferenceModelRewrite `name` by which the new version gets `percent` of the requests, 1 to 100."""
    shares = ((split.adapter, _ALL - percent), (split.tried, percent))
    return {
        "apiVersion": api,
        "kind": REWRITE,
        "metadata": {"name": name, "namespace": namespace, **({"ownerReferences": [dict(owner)]} if owner else {})},
        "spec": {
            "poolRef": {"group": POOL_GROUP, "kind": "InferencePool", "name": pool},
            "rules": [
                {
                    "matches": [{"model": {"type": "Exact", "value": one}} for one in public_names(split, namespace)],
                    "targets": [{"modelRewrite": one, "weight": share} for one, share in shares if share],
                }
            ],
        },
    }


def share_of(split: Split, rewrite: Manifest | None) -> int:
    """Percent of the requests that a stored rewrite sends to the new version."""
    rules = ((rewrite or {}).get("spec") or {}).get("rules") or ()
    targets = [target for rule in rules for target in rule.get("targets") or ()]
    total = sum(int(target.get("weight") or 0) for target in targets)
    tried = sum(int(target.get("weight") or 0) for target in targets if target.get("modelRewrite") == split.tried)
    return round(_ALL * tried / total) if total else 0


def serving_pods(pods: Iterable[Manifest], pattern: str) -> tuple[ServingPod, ...]:
    """Those of a service's pods, by the pattern of their names, that are ready and stay."""
    return tuple(_reached(pod) for pod in _staying(pods, pattern) if _is_ready(pod))


def unready_pods(pods: Iterable[Manifest], pattern: str) -> tuple[ServingPod, ...]:
    """Those that were ready since their server has started, and are not now. One that is starting still is none of
    them: nobody knows when it will be ready, and it comes as its object says."""
    found = (_reached(pod) for pod in _staying(pods, pattern) if _has_faltered(pod))
    return tuple(pod for pod in found if not pod.unable)


def served_everywhere(pods: Iterable[ServingPod], wanted: Mapping[str, str]) -> Readiness:
    """Whether every pod serves all of these adapters (name to path). One that does has no fault: an attempt that was
    not waited for may come to its end after the next one was refused."""
    known = tuple(pods)
    if not known:
        return Readiness("no pod serves")
    for pod in known:
        missing = next((name for name, path in wanted.items() if (pod.served or {}).get(name) != path), "")
        if missing and pod.fault:
            return Readiness(f"pod {pod.name}: {pod.fault}", retriable=not pod.hopeless)
        if missing:
            return Readiness(f"pod {pod.name} does not serve adapter {missing} from {wanted[missing]} yet")
    return READY


def lacks(pods: Iterable[ServingPod], name: str) -> bool:
    """Whether a pod has said what it serves, and that name is not among it: requests for it are answered by 404."""
    return any(pod.served is not None and name not in pod.served for pod in pods)


def is_ours(rewrite: Manifest) -> bool:
    """Whether a rollout has made it."""
    owners = rewrite["metadata"].get("ownerReferences") or ()
    return any(owner.get("kind") == "Canary" for owner in owners)


def _staying(pods: Iterable[Manifest], pattern: str) -> Iterator[Manifest]:
    for pod in pods:
        metadata, address = pod["metadata"], (pod.get("status") or {}).get("podIP")
        if address and not metadata.get("deletionTimestamp") and re.fullmatch(pattern, metadata["name"]):
            yield pod


def _ready_condition(pod: Manifest) -> Mapping[str, Any]:
    return next((one for one in pod["status"].get("conditions") or () if one.get("type") == "Ready"), {})


def _is_ready(pod: Manifest) -> bool:
    return bool(_ready_condition(pod).get("status") == "True")


def _has_faltered(pod: Manifest) -> bool:
    """The kubelet says that a pod is not ready before it starts the server, and keeps the time of that."""
    containers = pod["status"].get("containerStatuses") or ()
    running = (one["state"].get("running") for one in containers if one.get("name") == _CONTAINER and one.get("state"))
    started = (next(running, None) or {}).get("startedAt")
    since = _ready_condition(pod).get("lastTransitionTime")
    return not _is_ready(pod) and bool(started and since) and str(since) > str(started)


def _reached(pod: Manifest) -> ServingPod:
    metadata, address = pod["metadata"], str(pod["status"]["podIP"])
    containers = (pod.get("spec") or {}).get("containers") or ()
    main = next((one for one in containers if one.get("name") == _CONTAINER), None)
    if main is None:
        return ServingPod(name=metadata["name"], url="", unable=f"it has no container {_CONTAINER}")
    port = next((one["containerPort"] for one in main.get("ports") or ()), _PORT)
    host = f"[{address}]" if ":" in address else address
    url = f"http://{host}:{port}"
    return ServingPod(name=metadata["name"], url=url, unable=_unable(main))


def _unable(container: Mapping[str, Any]) -> str:
    env = {str(one.get("name")): str(one.get("value") or "") for one in container.get("env") or ()}
    given = (*(container.get("command") or ()), *(container.get("args") or ()), env.get(_MORE_WORDS, ""))
    words = " ".join(map(str, given))
    if env.get(_ALLOWS, "").lower() not in _TRUE:
        return f"its server does not load adapters while it runs ({_ALLOWS} is not set)"
    if "--ssl-certfile" in words:
        return "its server speaks TLS with a certificate that nobody here knows"
    if "--api-key" in words or env.keys() & _KEYS:
        return "its server asks for an API key"
    if _SEVERAL_WORDS.search(words):
        return "its server is several processes, each with adapters of its own"
    return ""


def _rivals(split: Split, pool: Pool, namespace: str, name: str) -> Iterator[str]:
    """Rewrites of others for the same names in the same pool: the oldest counts, and nobody here decides which. One
    that has the name of ours is not overwritten either."""
    for rewrite in pool.rewrites:
        spec = rewrite.get("spec") or {}
        if rewrite["metadata"]["name"] == rewrite_name(name):
            if not is_ours(rewrite):
                yield rewrite_name(name)
            continue
        if (spec.get("poolRef") or {}).get("name") != pool_name(name):
            continue
        matches = [match for rule in spec.get("rules") or () for match in rule.get("matches") or ()]
        if {(match.get("model") or {}).get("value") for match in matches} & {*public_names(split, namespace)}:
            yield rewrite["metadata"]["name"]


def rewrite_name(name: str) -> str:
    """The rewrite that a rollout of the service makes."""
    return f"{name}-canary"


def _adapters(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    lora = (content.get("model") or {}).get("lora") or {}
    return list(lora.get("adapters") or ())


def _without_uris(content: Mapping[str, Any]) -> dict[str, Any]:
    model = content.get("model") or {}
    lora = model.get("lora") or {}
    bare = [{key: value for key, value in adapter.items() if key != "uri"} for adapter in _adapters(content)]
    return {**content, "model": {**model, "lora": {**lora, "adapters": bare}}}
