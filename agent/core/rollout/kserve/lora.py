"""An LLMInferenceService of which only an adapter changes: the new one is tried in the pods of the old one.

The run is noted on the target (`Trial.split`) before anything else is done, so that whoever comes next knows the way it
has begun: the new adapter is loaded under a name of its own, a rewrite splits the public name between the two. At the
promotion all requests go to the name on trial; once the endpoint picker has had time to see that, the pods get the new
adapter under the public name, too, then the rewrite goes, and only then the object is written, for which KServe
replaces the pods. So nobody meets a pod that does not know the name that is asked for, nor the old adapter once more.
Where an adapter cannot be tried like this, the run is that of `llm`, and says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from agent.api.canary import Canary
from agent.core.judge.packs import ENDPOINT_PICKER
from agent.core.judge.queries import Fleet
from agent.core.objects import Manifest
from agent.core.rollout.actions import Weights
from agent.core.rollout.judgesettings import Baseline, InvalidAnnotationError, JudgeMode, judge_settings
from agent.core.rollout.knative import child_name
from agent.core.rollout.kserve.content import (
    Promoted,
    Trial,
    asked_of,
    content_of,
    covers,
    promoted_on,
    revision_of,
    serving_on,
    trial_on,
)
from agent.core.rollout.kserve.llm import Llm, first_manifest
from agent.core.rollout.kserve.serving import (
    Bring,
    Facts,
    ServiceError,
    Services,
    Withdraw,
    Write,
    asked_in,
    within_deadline,
)
from agent.core.rollout.kserve.split import (
    REWRITE,
    NoSplitError,
    Split,
    is_ours,
    lacks,
    pool_name,
    public_names,
    require,
    rewrite_name,
    rewriting,
    served_everywhere,
    share_of,
    split_between,
    touches_adapters,
)
from agent.core.rollout.plan import TOTAL_WEIGHT, Plan
from agent.core.rollout.readiness import READY, Readiness
from agent.core.rollout.status import Status

ADAPTERS: Final = "weir.dev/adapters"
"""Annotation of a Canary: `pods` has every new adapter tried in pods of its own."""
_PODS: Final = "pods"
_LEAVING: Final = "leaving"
"""The revision of a trial whose adapter is unloaded at the next look: requests may be on their way to it."""


class Lora(Llm):
    """See the module."""

    def facts(self, services: Services, plan: Plan, status: Status, now: datetime) -> Facts:
        found = super().facts(services, plan, status, now)
        obj, trial = services.target, trial_on(services.target)
        split, why = _chosen(services)
        if split is None or (trial is not None and found.matches and not _on_way(obj, trial)):
            way = f"the new adapter gets pods of its own: {why}" if why else ""
            return msgspec.structs.replace(found, target=msgspec.structs.replace(found.target, way=way))
        begun = trial is not None and trial.revision == asked_of(obj)[0]
        ready = READY if found.matches else Readiness(f"waiting for adapter {split.tried} to be loaded")
        if begun and not found.matches:
            ready = served_everywhere(services.pool.pods, {split.tried: split.path})
        return _by_name(found, services, split, within_deadline(ready, plan, status, now), begun=begun)

    def weights(self, services: Services) -> Weights:
        """As the rewrite has them; all of the public name's once that leads to the promoted adapter."""
        split = _tried(services)
        if split is None:
            return super().weights(services)
        percent = share_of(split, _rewrite(services))
        return Weights(TOTAL_WEIGHT - percent, percent)

    def raised(self, services: Services) -> tuple[Write, ...]:
        """What an earlier trial has left behind goes first: until the next look, requests may be on their way to it."""
        revision, _ = asked_of(services.target)
        trial = trial_on(services.target)
        if trial is not None and trial.split is not None:
            return () if trial.revision == revision else self.lowered(services, at_once=False)
        split, _ = _chosen(services)
        if split is None:
            return super().raised(services)
        obj = services.target
        note = first_manifest(obj, serving_on(obj), None, trial=Trial(revision=revision, split=split))
        return (note, Bring(wanted={split.tried: split.path}))

    def weighted(self, services: Services, percent: int) -> tuple[Write, ...]:
        split, trial = _tried(services), trial_on(services.target)
        if split is None or trial is None:
            return super().weighted(services, percent)
        over = trial.revision == _LEAVING or _is_promoted(services.target, trial)
        if over or percent == self.weights(services).canary:
            return ()
        return (_rewritten(services, split, percent),)

    def lowered(self, services: Services, *, at_once: bool) -> tuple[Write, ...]:
        """Requests come back to the public name first; what is being promoted comes to its end."""
        obj, trial = services.target, trial_on(services.target)
        if trial is None or trial.split is None:
            return super().lowered(services, at_once=at_once)
        if at_once:
            return _left(services)
        if trial.revision == _LEAVING or _is_promoted(obj, trial):
            return ()
        leaving = first_manifest(obj, serving_on(obj), None, trial=Trial(revision=_LEAVING, split=trial.split))
        return (*_withdrawn(services), leaving)

    def promoted(self, services: Services, identity: str) -> tuple[Write, ...]:
        """All requests to the name on trial, and the note of it: `settled` does the rest, one look later."""
        obj, trial = services.target, trial_on(services.target)
        if trial is None or trial.split is None:
            return super().promoted(services, identity)
        _, content = asked_of(obj)
        serving = Promoted(content=content, identity=identity)
        if promoted_on(obj) == serving:
            return ()
        note = first_manifest(obj, serving, None, content=serving_on(obj).content, trial=trial)
        return (_rewritten(services, trial.split, TOTAL_WEIGHT), note)

    def settled(self, services: Services) -> tuple[Write, ...]:
        """Pods that have come since get the adapter; a promotion and a rollback go one step further. Nobody is sent to
        a name that a pod does not know while that is so."""
        obj, trial = services.target, trial_on(services.target)
        if trial is None or trial.split is None:
            return (*_stray(services), *super().settled(services))
        if trial.revision == _LEAVING:
            return _left(services)
        if _is_promoted(obj, trial):
            return _ended(services, trial) if _is_written(obj) else _handed_over(services, trial, at_once=False)
        split = trial.split
        wanted = {split.tried: split.path}
        if served_everywhere(services.pool.pods, wanted).ready:
            return ()
        share = self.weights(services).canary
        if not share or not lacks(services.pool.pods, split.tried):
            return (Bring(wanted=wanted),)
        return (*_withdrawn(services), Bring(wanted=wanted, required=True), _rewritten(services, split, share))


def asks_for_pool(obj: Manifest) -> bool:
    """Whether a split is under way, or may be: then it has to be known what serves."""
    return split_under_way(obj) or touches_adapters(serving_on(obj).content, asked_of(obj)[1])


def split_under_way(obj: Manifest) -> bool:
    """Whether the object says that an adapter is tried in its pods."""
    trial = trial_on(obj)
    return trial is not None and trial.split is not None


def uncounted(canary: Canary) -> str:
    """Why a Canary cannot be judged by the names of adapters; empty if it can. Both are served by the same pods."""
    notes = canary.metadata.annotations
    if notes.get(ADAPTERS) == _PODS:
        return f"the annotation {ADAPTERS} of the Canary says so"
    try:
        settings = judge_settings(notes, interval=1.0)
    except InvalidAnnotationError as error:
        return str(error)
    if settings.pack not in {None, "", ENDPOINT_PICKER.name}:
        return f"the Canary asks for the metrics of pack {settings.pack}, which are those of pods"
    if settings.baseline is Baseline.FRESH:
        return "a fresh baseline is pods of its own"
    known = {metric.name for metric in ENDPOINT_PICKER.metrics}
    for metric in canary.spec.analysis.metrics:
        if metric.template_ref is not None or metric.query or metric.name not in known:
            return f"metric {metric.name} of the Canary is one of pods, which both adapters share"
        if settings.mode not in {JudgeMode.GUARDED, JudgeMode.COMPARATIVE}:
            return f"metric {metric.name} of the Canary is judged by Flagger's rule, which counts pods, not names"
    return ""


def uses_pods_that_serve(services: Services) -> bool:
    """Whether what Git asks for needs no pods of its own."""
    return _chosen(services)[0] is not None


def _chosen(services: Services) -> tuple[Split | None, str]:
    """How what Git asks for is tried in the pods that serve, or why it is not; the way that a run has begun stays."""
    obj, trial = services.target, trial_on(services.target)
    asked = asked_in(obj)
    if trial is not None and trial.split is not None and (trial.revision == asked.revision or _on_way(obj, trial)):
        return trial.split, ""
    if asked.matches or services.sibling is not None:
        return None, ""
    before, spec, metadata = asked.serving.content, obj["spec"], obj["metadata"]
    if not touches_adapters(before, asked.content):
        return None, ""
    try:
        split = split_between(before, asked.content)
        require(split, services.pool, spec, metadata["namespace"], metadata["name"])
    except NoSplitError as error:
        return None, str(error)
    return split, ""


def _by_name(found: Facts, services: Services, split: Split, ready: Readiness, *, begun: bool) -> Facts:
    """The same pods on both sides: the endpoint picker's, which count requests by the name they were sent to."""
    picker = child_name(services.target["metadata"]["name"], "-kserve-router-scheduler")
    trial = trial_on(services.target)
    on_way = trial is not None and _on_way(services.target, trial)
    shared = on_way or (begun and not found.matches)
    target = msgspec.structs.replace(
        found.target,
        replicas=int(begun or found.matches),
        ready=ready,
        fleet=Fleet(picker, model=split.tried),
        shared=shared,
        lacking=shared and lacks(services.pool.pods, split.tried),
        way=f"adapter {split.adapter} is split by name: {split.tried} is loaded into the pods that serve",
    )
    primary = msgspec.structs.replace(found.primary, fleet=Fleet(picker, model=split.adapter))
    if on_way:
        served = served_everywhere(services.pool.pods, _public(services, split))
        waits = next((f"pod {pod.name} is not ready any more" for pod in services.pool.unready), "")
        text = served.text or waits or f"waiting for the new address of adapter {split.adapter} to be written"
        primary = msgspec.structs.replace(primary, ready=Readiness(text))
    return msgspec.structs.replace(found, target=target, primary=primary)


def _is_promoted(obj: Manifest, trial: Trial) -> bool:
    return revision_of(serving_on(obj).content) == trial.revision


def _is_written(obj: Manifest) -> bool:
    return covers(content_of(obj), serving_on(obj).content)


def _on_way(obj: Manifest, trial: Trial) -> bool:
    """It was promoted, and the object does not say so yet."""
    return trial.split is not None and _is_promoted(obj, trial) and not _is_written(obj)


def _handed_over(services: Services, trial: Trial, *, at_once: bool) -> tuple[Write, ...]:
    """The public name gets the new adapter while nobody is sent to it; then it is the one again. All requests go to the
    name on trial: where a pod does not know that, this is not waited for, since KServe replaces the pods anyway. Nor is
    it `at_once`: nobody comes again to go on."""
    assert trial.split is not None
    obj, split = services.target, trial.split
    unknown = lacks(services.pool.pods, split.tried)
    wanted = {**({split.tried: split.path} if unknown else {}), **_public(services, split)}
    written = first_manifest(obj, serving_on(obj), None, trial=trial)
    required = not unknown and not at_once
    return (Bring(wanted=wanted, required=required, unready=True), *_withdrawn(services), written)


def _public(services: Services, split: Split) -> Mapping[str, str]:
    return dict.fromkeys(public_names(split, services.target["metadata"]["namespace"]), split.path)


def _ended(services: Services, trial: Trial) -> tuple[Write, ...]:
    """The name on trial goes, and the note of it."""
    assert trial.split is not None
    obj = services.target
    return (Bring(gone=(trial.split.tried,)), first_manifest(obj, serving_on(obj), None))


def _left(services: Services) -> tuple[Write, ...]:
    """What an earlier trial has left behind goes, requests first; what was promoted is brought to its end."""
    trial = trial_on(services.target)
    if trial is None or trial.split is None:
        return ()
    on_way = _on_way(services.target, trial)
    before = _handed_over(services, trial, at_once=True) if on_way else _withdrawn(services)
    return (*before, *_ended(services, trial))


def _tried(services: Services) -> Split | None:
    trial = trial_on(services.target)
    return trial.split if trial is not None else None


def _rewrite(services: Services) -> Manifest | None:
    return services.pool.named(rewrite_name(services.target["metadata"]["name"]))


def _withdrawn(services: Services) -> tuple[Withdraw, ...]:
    """Whether or not one was seen: it may be where nothing could be listed just now."""
    return (Withdraw(rewrite_name(services.target["metadata"]["name"])),)


def _stray(services: Services) -> tuple[Withdraw, ...]:
    """A rewrite of which nothing on the target speaks: that was made anew in mid-run."""
    rewrite = _rewrite(services)
    return _withdrawn(services) if rewrite is not None and is_ours(rewrite) else ()


def _rewritten(services: Services, split: Split, percent: int) -> Write:
    """Requests for the public name, split; without a share the rewrite goes."""
    metadata: Mapping[str, Any] = services.target["metadata"]
    name = rewrite_name(metadata["name"])
    if percent <= 0:
        return Withdraw(name)
    if not services.pool.api:
        raise ServiceError("TargetInvalid", f"{REWRITE}s are not served any more, or may not be read")
    return rewriting(
        split,
        services.pool.api,
        percent,
        namespace=metadata["namespace"],
        name=name,
        pool=pool_name(metadata["name"]),
        owner=services.owner,
    )
