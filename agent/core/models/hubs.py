"""Model hubs and registries: Hugging Face, ModelScope, MLflow, Weights & Biases, NGC, Ollama and others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from agent.core.models.ref import MALFORMED, Digest, Identity, Ref, unresolved
from agent.core.models.spelled import Grammar, Spelled

_COMMIT: Final = re.compile(r"^[0-9a-f]{40}$")
_PART: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HUB_ID: Final = re.compile(rf"^{_PART}/{_PART}$")
_BARE_ID: Final = re.compile(rf"^({_PART}(?:/{_PART})?)(?::([A-Za-z0-9_.-]+))?(?:@([A-Za-z0-9_./-]+))?$")
_ELSEWHERE: Final = re.compile(r"^mlflow-artifacts://[^/]", re.IGNORECASE)
_SERVICE: Final = re.compile(r":\d+$|\.svc(?:\.|$)|\.local$")
_MODELS_VERSION: Final = re.compile(r"^([^@]+)/([0-9]{1,18})$")
_LOGGED_MODEL: Final = re.compile(r"^m-[0-9a-f]+(/.*)?$")


def hub(text: str, name: str, revision: str | None, kind: str = "", inside: str | None = "") -> Ref:
    """A Hugging Face repository; *kind* is ``""``, ``"datasets/"`` or ``"spaces/"``, *inside* a path or ``#file``.

    No revision means ``main``.
    """
    wanted = revision or "main"
    scheme = "hf-dataset" if kind == "datasets/" else "hf-model"
    canonical = f"hf://{kind}{name}@{wanted}" + (inside or "")
    if not _HUB_ID.match(name) and not re.fullmatch(_PART, name):
        return unresolved(text, scheme, canonical, MALFORMED)
    if _COMMIT.match(wanted):
        return Ref(text, scheme, canonical, True, Identity(revision=wanted))
    return unresolved(text, scheme, canonical)


def hf(spelled: Spelled) -> Ref:
    """``hf://``: the revision follows ``:`` in KServe, ``@`` in Dynamo, OME and Hugging Face's own file system."""
    body, revision = spelled.body.strip("/"), spelled.revision
    kind = next((k for k in ("datasets/", "spaces/", "models/") if body.startswith(k)), "")
    name = body[len(kind) :]
    kind = "" if kind == "models/" else kind
    colon = spelled.grammar in {Grammar.KSERVE, Grammar.SELDON}
    if colon:
        name, _, found = name.partition(":")
        if name.count("/") != 1 or kind:
            return unresolved(spelled.text, "hf-model", f"hf://{body}", MALFORMED)
        return hub(spelled.text, name, found or revision)
    parts = name.split("/")
    if len(parts) > 1 and "@" in name:
        head, _, tail = name.partition("@")
        # "refs/pr/7" is the only revision with slashes; everything after another revision is a path.
        special = re.match(r"(refs/(?:pr|convert)/[^/]+|[^/]+)(?:/(.*))?$", tail)
        found, path = special.groups() if special else (tail, None)
        return hub(spelled.text, head, found or revision, kind, f"/{path}" if path else "")
    if spelled.grammar is Grammar.GENERIC and ":" in name:
        name, _, found = name.partition(":")
        return hub(spelled.text, name, found or revision, kind)
    owner_name, path = "/".join(parts[:2]), "/".join(parts[2:])
    return hub(spelled.text, owner_name, revision, kind, f"/{path}" if path else "")


def bare(spelled: Spelled) -> Ref:
    """``owner/name`` as servers take it; ``:suffix`` picks a file (a quantisation), ``@`` a revision."""
    found = _BARE_ID.match(spelled.body)
    if found is None:
        return unresolved(spelled.text, "unknown", spelled.text, MALFORMED)
    name, file, revision = found.groups()
    return hub(spelled.text, name, spelled.revision or revision, inside=f"#{file}" if file else "")


def llama_cpp(spelled: Spelled) -> Ref:
    """``user/repo[:quant]`` of llama.cpp, which has no way to ask for a revision: always floating."""
    name, _, quant = spelled.body.partition(":")
    return hub(spelled.text, name, None, inside=f"#{quant}" if quant else "")


def modelscope(spelled: Spelled) -> Ref:
    """ModelScope: ``owner/name[:rev]``, default branch ``master``."""
    name, _, found = spelled.body.strip("/").partition(":")
    wanted = found or spelled.revision or "master"
    canonical = f"modelscope://{name}@{wanted}"
    if not _HUB_ID.match(name):
        return unresolved(spelled.text, "modelscope", canonical, MALFORMED)
    if _COMMIT.match(wanted):
        return Ref(spelled.text, "modelscope", canonical, True, Identity(revision=wanted))
    return unresolved(spelled.text, "modelscope", canonical)


def mlflow_model(spelled: Spelled) -> Ref:
    """``models:/``: an integer version and a logged model are fixed, an alias and a stage are not."""
    body = spelled.body.strip("/")
    if _LOGGED_MODEL.match(body):
        return Ref(spelled.text, "mlflow-version", f"models:/{body}", True, Identity(version=body.partition("/")[0]))
    if found := _MODELS_VERSION.match(body):
        name, version = found.groups()
        return Ref(spelled.text, "mlflow-version", f"models:/{name}/{int(version)}", True, Identity(version=version))
    if "@" in body:
        return unresolved(spelled.text, "mlflow-alias", f"models:/{body}")
    reason = None if "/" in body else MALFORMED
    stage = f"models:/{body}"
    return (
        unresolved(spelled.text, "mlflow-stage", stage, reason)
        if reason
        else unresolved(spelled.text, "mlflow-stage", stage)
    )


def mlflow_run(spelled: Spelled) -> Ref:
    """Files of an MLflow run: the run is fixed, its files can still be replaced. They may be of a server it names."""
    body = spelled.body.strip("/")
    if _ELSEWHERE.match(spelled.text):
        return Ref(spelled.text, "mlflow-run", f"{spelled.scheme}://{body}", "soft")
    canonical = f"{spelled.scheme}:/{body}"
    return Ref(spelled.text, "mlflow-run", canonical, "soft", Identity(revision=body.partition("/")[0]))


def wandb(spelled: Spelled) -> Ref:
    """Weights & Biases artifact: ``:vN`` or a digest pins, other aliases move."""
    body = spelled.body.strip("/")
    name, at, digest = body.partition("@")
    if at and digest:
        known = Digest("md5", digest, "manifest", "md5") if re.fullmatch(r"[0-9a-f]{32}", digest) else None
        return Ref(spelled.text, "wandb", f"wandb-artifact://{name}@{digest}", True, Identity(revision=digest), known)
    name, _, alias = body.partition(":")
    alias = alias or spelled.revision or ""
    canonical = f"wandb-artifact://{name}:{alias or 'latest'}"
    if re.fullmatch(r"v\d+", alias):
        return Ref(spelled.text, "wandb", canonical, True, Identity(version=alias))
    return unresolved(spelled.text, "wandb", canonical)


def ngc(spelled: Spelled) -> Ref:
    """NVIDIA NGC: an explicit version pins. NIM writes ``?file=`` behind it for one file of the version."""
    body, _, file = spelled.body.partition("?file=")
    slash, colon = body.rfind("/"), body.rfind(":")
    name, version = (body[:colon], body[colon + 1 :]) if colon > slash else (body, "")
    version = version or spelled.revision or ""
    canonical = f"ngc://{name.strip('/')}:{version or 'latest'}" + (f"?file={file}" if file else "")
    if version and version != "latest":
        return Ref(spelled.text, "ngc", canonical, True, Identity(version=version))
    return unresolved(spelled.text, "ngc", canonical)


def ollama(spelled: Spelled) -> Ref:
    """Ollama: ``[host/][namespace/]name[:tag]``; tags move. ``hf.co/user/repo:quant`` is its own form."""
    slash, colon = spelled.body.rfind("/"), spelled.body.rfind(":")
    name, tag = (spelled.body[:colon], spelled.body[colon + 1 :]) if colon > slash else (spelled.body, "")
    name = name.strip("/")
    if "/" not in name:
        name = f"library/{name}"
    return unresolved(spelled.text, "ollama", f"ollama://{name}:{tag or 'latest'}")


def model_registry(spelled: Spelled) -> Ref:
    """Kubeflow model registry: ``[host/]name[/version]``; a version pins."""
    body = spelled.body.partition("?")[0].strip("/")
    version = registered(body)[2]
    if not version and spelled.revision:
        version, body = spelled.revision, f"{body}/{spelled.revision}"
    canonical = f"model-registry://{body}"
    if version:
        return Ref(spelled.text, "model-registry", canonical, True, Identity(version=version))
    return unresolved(spelled.text, "model-registry", canonical)


def registered(body: str) -> tuple[str, str, str]:
    """Host, name and version in the reference of a model registry; empty where it does not name them.

    With two parts, the first is a host if it looks like the address of a service: with a port, or in the cluster.
    """
    parts = body.split("/", 2)
    if len(parts) == 3 or (len(parts) == 2 and _SERVICE.search(parts[0])):
        return parts[0], parts[1], parts[2] if len(parts) == 3 else ""
    return "", parts[0], parts[1] if len(parts) == 2 else ""


def vendor(spelled: Spelled) -> Ref:
    """A model that a vendor hosts: nothing in the text fixes the content."""
    return unresolved(spelled.text, "vendor", f"vendor://{spelled.body.strip('/')}")


def bento(spelled: Spelled) -> Ref:
    """BentoML tag: a generated version is unique, ``latest`` floats."""
    name, _, version = spelled.body.strip("/").partition(":")
    canonical = f"bento://{name}:{version or 'latest'}"
    if version and version != "latest":
        return Ref(spelled.text, "bento", canonical, "soft", Identity(version=version))
    return unresolved(spelled.text, "bento", canonical)


SCHEMES: Final[Mapping[str, Callable[[Spelled], Ref]]] = {
    **dict.fromkeys(("hf", "huggingface"), hf),
    "modelscope": modelscope,
    "models": mlflow_model,
    **dict.fromkeys(("runs", "mlflow-artifacts"), mlflow_run),
    **dict.fromkeys(("wandb-artifact", "wandb"), wandb),
    "ngc": ngc,
    "ollama": ollama,
    "model-registry": model_registry,
    "vendor": vendor,
    "bento": bento,
}
