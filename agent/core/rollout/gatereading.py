"""From a Canary's webhook to the gate that it describes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from agent.api.analysis import CanaryWebhook, HookType
from agent.api.duration import parse_duration
from agent.core.rollout.gates import HTTP, HTTPS, JOB, REPORT, TRIGGER, Gate, Limits, OnUnknown, without_secrets

_KINDS: Final = frozenset({JOB, REPORT, TRIGGER, HTTP, HTTPS})
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_UNREADABLE: Final = 60.0
"""Seconds that stand for a text which is no duration, as everywhere in a Canary."""
_FORMS: Final = (
    f"{JOB}://NAME-OF-A-CRONJOB, {REPORT}://NAME-OF-A-CONFIGMAP/KEY, {TRIGGER}://NAME-OF-A-DATATRIGGER or "
    f"{HTTPS}://HOST/PATH"
)


def is_gate(url: str) -> bool:
    """Whether a webhook's address names a gate."""
    return url.partition("://")[0].lower() in _KINDS


def gates_of(webhooks: Sequence[CanaryWebhook]) -> tuple[Gate, ...]:
    """The gates among the webhooks of a Canary."""
    found = [webhook for webhook in webhooks if is_gate(webhook.url)]
    names = Counter(webhook.name for webhook in found)
    # Results are kept by name, so two gates of one name would answer for each other.
    twice = {name: f"there are {count} gates named {name}" for name, count in names.items() if count > 1}
    gates = [_gate(webhook) for webhook in found]
    return tuple(msgspec.structs.replace(gate, error=gate.error or twice.get(gate.name, "")) for gate in gates)


def _gate(webhook: CanaryWebhook) -> Gate:
    timeout = _seconds(webhook.timeout) if webhook.timeout else None
    gate = gate_of(webhook.name, webhook.url, timeout, webhook.metadata or {}, verify_tls=not webhook.disable_tls)
    if webhook.hook is HookType.PRE_ROLLOUT:
        return gate
    error = f"a gate is of type {HookType.PRE_ROLLOUT.value}, not {webhook.hook.value}"
    return msgspec.structs.replace(gate, error=gate.error or error)


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        return _UNREADABLE


def gate_of(
    name: str, url: str, timeout: float | None, metadata: Mapping[str, str], *, verify_tls: bool = True
) -> Gate:
    """The gate that a webhook describes."""
    try:
        parts = urlsplit(url)
    except ValueError as broken:
        return Gate(name=name, source="", error=f"the address of the gate cannot be read: {broken}")
    asked = parts.scheme in {HTTP, HTTPS}
    entry = "" if asked else parts.path.strip("/")
    given, error = _given(metadata)
    named = parts.netloc if asked else _NAME.fullmatch(parts.netloc)
    if not named or (bool(entry) is not (parts.scheme == REPORT)) or "/" in entry or (parts.query and not asked):
        return Gate(name=name, source="", error=f"{without_secrets(url)} is not of the form {_FORMS}")
    if given.get("secret") and not asked:
        error = error or f"metadata 'secretRef' is for {HTTPS}: no other gate sends credentials"
    elif given.get("secret") and "@" in parts.netloc:
        error = error or "there are credentials in the address and in metadata 'secretRef': leave out the former"
    if given.get("age") is not None and parts.scheme == JOB:
        error = error or f"metadata 'maxAge' is not for {JOB}: a Job runs anew for each revision"
    if given.get("samples") is not None and parts.scheme == TRIGGER:
        error = error or f"metadata 'minSamples' is not for {TRIGGER}: a DataTrigger keeps the metrics alone"
    return Gate(
        name=name,
        kind=parts.scheme,
        source=url.removeprefix("gate+") if asked else parts.netloc,
        key=entry,
        timeout=timeout,
        verify_tls=verify_tls,
        error=error,
        **given,
    )


def _given(metadata: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Fields of a gate that its metadata sets, and what is wrong with them."""
    limits: dict[str, dict[str, float]] = {}
    given: dict[str, Any] = {}
    errors: list[str] = []
    for key, text in metadata.items():
        kind, _, metric = key.partition(".")
        try:
            if key in _SETTINGS:
                field, read, _ = _SETTINGS[key]
                given[field] = read(text)
            elif kind in _FIELDS and metric:
                limits.setdefault(metric, {})[_FIELDS[kind]] = _number(text)
            else:
                errors.append(f"metadata {key!r} is unknown: use {_KNOWN}")
        except (ValueError, KeyError):
            wanted = _SETTINGS[key][2] if key in _SETTINGS else "a number"
            errors.append(f"metadata {key!r} is {text!r}: it has to be {wanted}")
    given["limits"] = {metric: Limits(**bounds) for metric, bounds in limits.items()}
    return given, errors[0] if errors else ""


def _licences(text: str) -> frozenset[str]:
    found = frozenset(part.strip().lower() for part in text.split(",") if part.strip())
    if not found:
        raise ValueError(text)
    return found


def _required(text: str) -> bool:
    if text != "required":
        raise ValueError(text)
    return True


def _secret(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(text)
    return text


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise ValueError(text)
    return value


def _age(text: str) -> float:
    value = parse_duration(text)
    if value <= 0:
        raise ValueError(text)
    return value


_REPORTS: Final = {"message": False, "configmap": True}
_SETTINGS: Mapping[str, tuple[str, Callable[[str], Any], str]] = {
    "onUnknown": ("on_unknown", OnUnknown, "hold, pass or fail"),
    "licence": ("licences", _licences, "licences that are allowed, separated by commas"),
    "signature": ("signed", _required, "required"),
    "minSamples": ("samples", _positive, "a number above 0"),
    "maxAge": ("age", _age, "a duration above 0, such as 72h"),
    "secretRef": ("secret", _secret, "the name of a Secret"),
    "report": ("in_config_map", lambda text: _REPORTS[text], "message or configmap"),
}
_FIELDS: Mapping[str, str] = {"min": "minimum", "max": "maximum", "maxDrop": "drop", "maxRise": "rise"}
_KNOWN = ", ".join((*_SETTINGS, *(f"{kind}.METRIC" for kind in _FIELDS)))
