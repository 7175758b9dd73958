"""What a rollout of a KServe object reads and writes, as tables of objects."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.rollout.actions import Weights
from agent.core.rollout.kserve.content import (
    PROMOTED,
    TRIAL,
    WANTED,
    asked_of,
    content_of,
    covers,
    noting_wanted,
    owned_pointers,
    revision_of,
    with_content,
    withheld,
)
from agent.core.rollout.kserve.knative import Knative
from agent.core.rollout.kserve.llm import Llm
from agent.core.rollout.kserve.services import MODE, serving_of
from agent.core.rollout.kserve.serving import ServiceError, Services
from agent.core.rollout.kserve.standard import Standard, entry_name
from agent.core.rollout.plan import Plan
from agent.core.rollout.status import Status

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
POINTERS = tuple(owned_pointers("InferenceService"))
PLAN = Plan(
    name="chat", namespace="ml", target_kind="InferenceService", target="chat", service="chat", provider="kserve"
)
OLD = {"model": {"storageUri": "hf://org/m@1", "modelFormat": {"name": "huggingface"}}}
NEW = {"model": {"storageUri": "hf://org/m@2", "modelFormat": {"name": "huggingface"}}}


def service(content=OLD, *, mode="Standard", wanted=None, promoted=OLD, status=None, canary=(), **predictor):
    notes = {MODE: mode}
    if wanted is not None:
        notes[WANTED] = json.dumps(wanted)
    if promoted is not None:
        notes[PROMOTED] = json.dumps({"content": promoted, "identity": "u"})
    spec = {"predictor": {**content, **predictor}, **({"canary": list(canary)} if canary else {})}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "chat", "namespace": "ml", "uid": "1", "annotations": notes},
        "spec": spec,
        "status": status or {},
    }


def entry(content=NEW, percent=0, name=None):
    return {"trafficPercent": percent, "predictor": {**content, "name": name or entry_name(revision_of(content))}}


def facts(serving, obj, *, since=NOW, now=NOW):
    return serving.facts(Services(obj), PLAN, Status(last_transition_time=since), now)


def test_older_predictors_read_as_kserve_stores_them():
    old = service({"sklearn": {"storageUri": "s3://m"}}, promoted=None)
    assert content_of(old) == {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://m"}}


@pytest.mark.parametrize(
    ("live", "wanted", "answer"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": [{"x": 1, "y": 2}]}, {"a": [{"x": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
    ],
)
def test_defaults_are_covered_other_values_are_not(live, wanted, answer):
    assert covers(live, wanted) is answer


def test_what_is_withheld_is_named_by_its_path():
    desired = service({"model": {**OLD["model"], "storageUri": "hf://org/m@2"}}, promoted=None)
    assert withheld(desired, service(), POINTERS) == ("spec.predictor.model.storageUri",)
    assert withheld(service(promoted=None), service(), POINTERS) == ()
    assert withheld(desired, service(), ()) == (), "without a Canary nothing is withheld"


def test_before_the_first_promotion_defaults_are_not_withheld():
    live = service({"model": {**OLD["model"], "protocolVersion": "v1"}}, promoted=None)
    assert withheld(service(promoted=None), live, POINTERS) == ()
    assert withheld(service(NEW, promoted=None), live, POINTERS) == ("spec.predictor.model.storageUri",)


def test_the_note_of_what_git_asks_for_is_what_a_run_is_about():
    noted = noting_wanted(service(promoted=None), service(NEW, promoted=None), POINTERS)
    assert asked_of(noted) == (revision_of(NEW), NEW)
    assert asked_of(service()) == (revision_of(OLD), OLD), "without a note, what serves"
    revision, content = asked_of(service(NEW))
    assert (revision.startswith("live:"), content) == (True, NEW), "or what somebody wrote past the rollout"


@pytest.mark.parametrize(
    ("mode", "status", "found"),
    [
        ("Standard", {}, Standard),
        ("Serverless", {}, Knative),
        ("Knative", {}, Knative),
        ("", {"deploymentMode": "Knative"}, Knative),
        ("RawDeployment", {}, "set the annotation"),
        ("", {"deploymentMode": "Standard"}, "set the annotation"),
        ("ModelMesh", {}, "has no canaries"),
        ("", {}, "not reported a deployment mode yet"),
    ],
)
def test_the_deployment_mode_decides(mode, status, found):
    obj = service(mode=mode, status=status)
    if isinstance(found, str):
        with pytest.raises(ServiceError, match=found):
            serving_of(obj)
    else:
        assert isinstance(serving_of(obj), found)


@pytest.mark.parametrize("workers", [{}, {"pipelineParallelSize": 2}])
def test_a_predictor_over_several_nodes_is_refused_in_standard_mode(workers):
    with pytest.raises(
        ServiceError, match=r"chat: spec\.predictor\.workerSpec .* use an LLMInferenceService with spec\.worker"
    ):
        serving_of(service(workerSpec=workers))
    assert isinstance(serving_of(service(workerSpec=None)), Standard)
    assert isinstance(serving_of(service(workerSpec=workers, canary=[entry()])), Standard), "a run goes to its end"
    assert isinstance(serving_of(service(workerSpec=workers, mode="Knative")), Knative)


def test_a_standard_canary_stands_beside_what_serves():
    (write,) = Standard().raised(Services(service(wanted=NEW, minReplicas=4)))
    assert write["spec"]["predictor"] == OLD
    assert write["spec"]["canary"] == [
        {"trafficPercent": 0, "predictor": {**NEW, "name": entry_name(revision_of(NEW)), "minReplicas": 1}}
    ]


@pytest.mark.parametrize(("percent", "replicas"), [(5, 1), (50, 2), (51, 3), (100, 4)])
def test_a_standard_canary_grows_with_its_share(percent, replicas):
    obj = service(wanted=NEW, canary=[entry()], minReplicas=4)
    (write,) = Standard().weighted(Services(obj), percent)
    assert write["spec"]["canary"][0]["trafficPercent"] == percent
    assert write["spec"]["canary"][0]["predictor"]["minReplicas"] == replicas
    assert Standard().weights(Services(write)) == Weights(100 - percent, percent)


def test_a_canary_of_one_pod_stays_one():
    obj = service(wanted=NEW, canary=[entry()], minReplicas=4)
    (write,) = Standard().weighted(Services(obj, single=True), 51)
    assert write["spec"]["canary"][0]["predictor"]["minReplicas"] == 1
    target = llm({"model": {"uri": "hf://m@1"}, "replicas": 4})
    (write,) = Llm().raised(Services(target, single=True))
    assert write["spec"]["replicas"] == 1


def test_a_standard_promotion_takes_over_the_name_of_what_runs_and_only_then():
    running = service(wanted=NEW, canary=[entry(percent=60)])
    (write,) = Standard().promoted(Services(running), "u2")
    assert write["spec"] == {"predictor": {**NEW, "name": entry_name(revision_of(NEW))}}
    (write,) = Standard().promoted(Services(service(wanted=NEW)), "u2")
    assert write["spec"] == {"predictor": NEW}, "a new name would take the serving Deployment away"


def test_what_others_made_of_the_canary_is_not_touched():
    obj = service(wanted=NEW, canary=[entry(name="mine")])
    with pytest.raises(ServiceError, match=r"remove spec\.canary"):
        Standard().weights(Services(obj))


@pytest.mark.parametrize(
    ("reported", "ready", "retriable"),
    [
        ([], False, True),
        ([{"ready": False, "trafficPercent": 30}], False, True),
        ([{"ready": True, "trafficPercent": 0}], False, True),
        ([{"ready": True, "trafficPercent": 30}], True, True),
        ([{"ready": False, "modelStatus": {"transitionStatus": "BlockedByFailedLoad"}}], False, False),
        ([{"ready": False, "modelStatus": {"transitionStatus": "InvalidSpec"}}], False, False),
    ],
)
def test_a_standard_canary_is_ready_when_kserve_says_so(reported, ready, retriable):
    tried = entry(percent=30)
    statuses = [{"name": tried["predictor"]["name"], **item} for item in reported]
    found = facts(Standard(), service(wanted=NEW, canary=[tried], status={"canaryStatuses": statuses}))
    assert (found.target.ready.ready, found.target.ready.retriable) == (ready, retriable)


def test_what_is_not_ready_in_time_will_not_be():
    obj = service(wanted=NEW, canary=[entry()])
    late = NOW + timedelta(seconds=PLAN.deadline + 1)
    assert facts(Standard(), obj, now=NOW + timedelta(seconds=5)).target.ready.retriable
    assert not facts(Standard(), obj, now=late).target.ready.retriable


def knative(content=OLD, *, created="r1", ready="r1", rolled="r1", latest=100, trial=None, percent=None, **more):
    component = {"latestCreatedRevision": created, "latestReadyRevision": ready, "latestRolledoutRevision": rolled}
    traffic = [{"latestRevision": True, "percent": latest}]
    status = {"components": {"predictor": {**component, "traffic": traffic}}, **more.pop("status", {})}
    predictor = {} if percent is None else {"canaryTrafficPercent": percent}
    obj = service(content, mode="Knative", status=status, **predictor, **more)
    if trial is not None:
        obj["metadata"]["annotations"][TRIAL] = json.dumps(trial)
    return obj


def test_a_knative_canary_comes_with_its_percentage():
    (write,) = Knative().raised(Services(knative(wanted=NEW)))
    assert write["spec"] == {"predictor": {**NEW, "canaryTrafficPercent": 0}}


def test_a_knative_canary_waits_for_a_revision_to_go_back_to():
    with pytest.raises(ServiceError, match="no revision has been rolled out"):
        Knative().raised(Services(knative(wanted=NEW, rolled="")))


@pytest.mark.parametrize(
    ("state", "ready", "retriable"),
    [
        ({"created": "r1"}, False, True),
        ({"created": "r2", "ready": "r1", "latest": 0}, False, True),
        ({"created": "r2", "ready": "r2", "latest": 30}, False, True),
        ({"created": "r2", "ready": "r2", "latest": 0}, True, True),
        ({"created": "r2", "status": {"modelStatus": {"transitionStatus": "BlockedByFailedLoad"}}}, False, False),
        ({"created": "r1", "status": {"modelStatus": {"transitionStatus": "BlockedByFailedLoad"}}}, False, True),
    ],
)
def test_a_knative_canary_is_judged_by_its_own_revision_only(state, ready, retriable):
    trial = {"revision": revision_of(NEW), "after": "r1"}
    found = facts(Knative(), knative(NEW, wanted=NEW, trial=trial, percent=0, **state))
    assert (found.target.ready.ready, found.target.ready.retriable) == (ready, retriable)


def llm(content, *, promoted=None, weight=None, name="chat", trial=None):
    notes = {PROMOTED: json.dumps({"content": promoted, "identity": "u"})} if promoted else {}
    if trial:
        notes[TRIAL] = json.dumps({"revision": trial})
    route = {"http": {}} if weight is None else {"http": {}, "group": "chat", "weight": weight}
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LLMInferenceService",
        "metadata": {"name": name, "namespace": "ml", "uid": "1", "annotations": notes},
        "spec": {**content, "replicas": 2, "router": {"route": route}},
    }


def test_the_second_llm_service_is_outside_of_the_group_until_it_has_traffic():
    old, new = {"model": {"uri": "hf://m@1"}}, {"model": {"uri": "hf://m@2"}}
    target = llm(old, promoted=old)
    target["metadata"]["annotations"][WANTED] = json.dumps(new)
    (second,) = Llm().raised(Services(target))
    assert second["metadata"]["name"] == "chat-canary"
    assert second["spec"]["model"] == {"uri": "hf://m@2", "name": "chat"}, "the name that clients know"
    assert second["spec"]["router"] == {"route": {"http": {}}}
    first, second = Llm().weighted(Services(target, {**second, "status": {}}), 30)
    assert first["spec"]["router"]["route"] == {"group": "chat", "weight": 70}
    assert second["spec"]["router"]["route"] == {"http": {}, "group": "chat", "weight": 30}
    assert Llm().weights(Services(target, second)) == Weights(70, 30)


def test_an_llm_service_without_a_route_is_told():
    target = llm({"model": {"uri": "hf://m@1"}})
    del target["spec"]["router"]
    with pytest.raises(ServiceError, match=r"spec\.router\.route"):
        Llm().weights(Services(target))


def test_an_object_with_other_content_keeps_the_rest_and_loses_what_steers_traffic() -> None:
    metadata = {"name": "chat", "namespace": "models"}
    predictor = {"minReplicas": 2, "model": {"storageUri": "hf://a"}, "volumes": [{"name": "v"}]}
    isvc = {
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": predictor, "canary": [{"name": "x"}]},
    }
    found = with_content(isvc, {"model": {"storageUri": "hf://b"}})
    assert found["spec"] == {"predictor": {"minReplicas": 2, "model": {"storageUri": "hf://b"}}}
    assert isvc["spec"]["predictor"] == predictor, "what is passed in stays"
    llm = {"kind": "LLMInferenceService", "metadata": metadata, "spec": {"replicas": 3, "model": {"uri": "hf://a"}}}
    llm["spec"]["router"] = {"route": {"weight": 10}}
    assert with_content(llm, {"model": {"uri": "hf://b"}})["spec"] == {"replicas": 3, "model": {"uri": "hf://b"}}


def pods_of(found):
    return found.target.fleet.workload, found.primary.fleet.workload


def test_the_pods_of_a_standard_canary_are_those_of_its_predictor():
    obj = service(wanted=NEW, canary=[entry(percent=30)], name="weir-0a1b2c3d")
    name = entry_name(revision_of(NEW))
    assert pods_of(facts(Standard(), obj)) == (f"chat-{name}-predictor", "chat-weir-0a1b2c3d-predictor")
    assert pods_of(facts(Standard(), service(wanted=NEW))) == (f"chat-{name}-predictor", "chat-predictor")


@pytest.mark.parametrize(
    ("component", "primary"),
    [
        ({"latestCreatedRevision": "chat-predictor-00002", "latestRolledoutRevision": "chat-predictor-00001"}, "00001"),
        (  # at 100 percent KServe calls the latest revision rolled out
            {
                "latestCreatedRevision": "chat-predictor-00002",
                "latestRolledoutRevision": "chat-predictor-00002",
                "previousRolledoutRevision": "chat-predictor-00001",
            },
            "00001",
        ),
    ],
)
def test_the_pods_of_knative_are_those_of_its_revisions(component, primary):
    obj = service(NEW, mode="Knative", wanted=NEW, status={"components": {"predictor": component}})
    obj["metadata"]["annotations"][TRIAL] = json.dumps({"revision": revision_of(NEW), "after": "x"})
    canary = "chat-predictor-00002-deployment"
    assert pods_of(facts(Knative(), obj)) == (canary, f"chat-predictor-{primary}-deployment")


def test_the_pods_of_an_llm_service_are_those_of_its_workload():
    one, workers = {"model": {"uri": "hf://org/m"}}, {"model": {"uri": "hf://org/m"}, "worker": {"containers": []}}
    assert pods_of(facts(Llm(), llm(one))) == ("chat-canary-kserve", "chat-kserve")
    fleet = facts(Llm(), llm(workers)).primary.fleet
    assert (fleet.workload, fleet.pattern) == ("chat-kserve-mn", "chat-kserve-mn-[0-9]+(-[0-9]+)?")


@pytest.mark.parametrize(
    ("content", "status", "server"),
    [
        ({"model": {"modelFormat": {"name": "huggingface"}}}, {}, "KServe huggingfaceserver"),
        ({"model": {"modelFormat": {"name": "sklearn"}}}, {}, "KServe Python servers"),
        ({"model": {"modelFormat": {"name": "sklearn"}, "runtime": "kserve-mlserver"}}, {}, "MLServer"),
        ({"model": {"modelFormat": {"name": "onnx"}}}, {"clusterServingRuntimeName": "vllm-mine"}, "vLLM"),
        ({"model": {"modelFormat": {"name": "x"}, "image": "vllm/vllm-openai:v1"}}, {}, "vLLM"),
        ({"model": {"modelFormat": {"name": "x"}}}, {}, ""),
        (
            {"containers": [{"image": "ghcr.io/huggingface/text-generation-inference:3"}]},
            {},
            "Text Generation Inference",
        ),
    ],
)
def test_the_server_of_a_predictor(content, status, server):
    assert facts(Standard(), service(content, wanted=content, promoted=content, status=status)).target.server == server


def test_the_server_of_an_llm_service_is_vllm_unless_it_says_otherwise():
    assert facts(Llm(), llm({"model": {"uri": "hf://org/m"}})).target.server == "vLLM"
    other = {"model": {"uri": "hf://org/m"}, "template": {"containers": [{"image": "lmsysorg/sglang:v1"}]}}
    assert facts(Llm(), llm(other)).target.server == "SGLang"


def pod(name, *, state, last=None, init=False, status=None, **metadata):
    container = {"name": "storage-initializer" if init else "server", "state": state, "lastState": last or {}}
    containers = {"initContainerStatuses" if init else "containerStatuses": [container]}
    return {"metadata": {"name": name, **metadata}, "status": {**containers, **(status or {})}}


def disrupted(answer):
    return {"conditions": [{"type": "Ready", "status": "False"}, {"type": "DisruptionTarget", "status": answer}]}


ENDED = {"terminated": {"reason": "Error", "exitCode": 1, "message": "no https://h/model?token=s3cr3t"}}
LOOPING = {"waiting": {"reason": "CrashLoopBackOff"}}
TRIED = f"chat-{entry_name(revision_of(NEW))}-predictor-5d9c4f7b86-x1y2z"


@pytest.mark.parametrize(
    ("pods", "failed"),
    [
        ([pod(TRIED, state=LOOPING, last=ENDED, init=True)], True),
        ([pod(TRIED, state=ENDED)], True),
        ([pod(TRIED, state=LOOPING)], True),
        ([pod(TRIED, state={"running": {}}, last=ENDED)], False),
        ([pod(TRIED, state={"terminated": {"reason": "Completed"}}, init=True)], False),
        ([pod(TRIED, state=ENDED, deletionTimestamp="2026-11-29T12:00:00Z")], False),
        ([pod(TRIED, state=ENDED, status={"phase": "Failed", "reason": "Evicted"})], False),
        ([pod(TRIED, state=ENDED, status={"phase": "Failed", **disrupted("True")})], False),
        ([pod(TRIED, state=ENDED, status=disrupted("False"))], True),
        ([pod(TRIED, state=ENDED, status={"reason": "NodeShutdown"}), pod(TRIED, state=LOOPING)], True),
        ([pod("chat-predictor-5d9c4f7b86-x1y2z", state=ENDED)], False),
    ],
)
def test_a_crashed_container_of_what_is_tried_is_a_failed_load(pods, failed):
    obj = service(wanted=NEW, canary=[entry()])
    assert Standard().look(Services(obj)).pods == "serving.kserve.io/inferenceservice=chat,component=predictor"
    ready = Standard().facts(Services(obj, pods=tuple(pods)), PLAN, Status(last_transition_time=NOW), NOW).target.ready
    assert ("ModelLoadFailed" in ready.text, ready.retriable) == (failed, not failed)
    assert "s3cr3t" not in ready.text


def test_a_promotion_of_the_same_storage_uri_changes_no_name_and_keeps_the_canary_until_the_stable_one_is_loaded():
    other = {"model": {**OLD["model"], "runtime": "newer"}}
    tried = entry(other, 60)
    obj = service(wanted=other, canary=[tried])
    (write,) = Standard().promoted(Services(obj), "u2")
    assert write["spec"] == {"predictor": other, "canary": [tried]}
    done = {**obj, "spec": {"predictor": other, "canary": [tried]}, "metadata": write["metadata"] | {"generation": 2}}
    assert Standard().promoted(Services(done), "u2") == ()
    assert Standard().look(Services(done)).workload == "chat-predictor"
    assert Standard().look(Services(done)).tried == f"chat-{tried['predictor']['name']}-predictor"
    new, old = deployment("newer"), deployment("older")
    for stable, ready in ((old, False), (deployment("newer", updated=1), False), (new, True), (None, True)):
        services = Services({**done, "status": IS_READY}, workload=stable, tried=new)
        assert facts_of(services).primary.ready.ready is ready
    on_trial = Services({**obj, "status": IS_READY}, workload=old, tried=new)
    assert facts_of(on_trial).primary.ready.ready, "until the promotion they differ"


IS_READY = {"conditions": [{"type": "PredictorReady", "status": "True"}]}


def deployment(image, updated=2):
    status = {"replicas": 2, "updatedReplicas": updated, "availableReplicas": 2, "observedGeneration": 1}
    spec = {"replicas": 2, "template": {"spec": {"containers": [{"name": "kserve-container", "image": image}]}}}
    return {"metadata": {"name": "d", "generation": 1}, "spec": spec, "status": status}


def facts_of(services):
    return Standard().facts(services, PLAN, Status(), NOW)


@pytest.mark.parametrize(
    ("seen", "workload", "ready"),
    [
        (1, None, False),
        (2, None, True),
        (None, None, True),
        (2, deployment("m", updated=1), False),
        (2, deployment("m"), True),
    ],
)
def test_a_promoted_llm_service_is_ready_when_its_own_pods_have_the_revision(seen, workload, ready):
    obj = llm({"model": {"uri": "hf://m@2"}})
    obj["metadata"]["generation"] = 2
    conditions = [{"type": "Ready", "status": "True"}]
    obj["status"] = {"conditions": conditions, **({} if seen is None else {"observedGeneration": seen})}
    found = Llm().facts(Services(obj, workload=workload), PLAN, Status(), NOW)
    assert found.primary.ready.ready is ready
    assert Llm().look(Services(obj)).workload == "chat-kserve"


def told(percent):
    return {"canaryStatuses": [{"name": entry_name(revision_of(NEW)), "trafficPercent": percent}]}


def test_an_entry_with_traffic_loses_its_share_before_it_goes():
    standard = Standard()
    (drained,) = standard.weighted(Services(service(wanted=NEW, canary=[entry(percent=30)], status=told(30))), 0)
    assert drained["spec"]["canary"] == [entry(percent=0)]
    leaving = service(wanted=NEW, canary=[entry()], status=told(30))
    leaving["metadata"]["annotations"] |= drained["metadata"]["annotations"]
    for status, writes in ((told(30), 0), (told(0), 1), ({}, 1)):
        services = Services({**leaving, "status": status})
        assert len(standard.settled(services)) == writes
        assert len(standard.lowered(services, at_once=False)) == writes
    assert standard.lowered(Services(leaving), at_once=True)[0]["spec"] == {"predictor": OLD}
    assert standard.facts(Services(leaving), PLAN, Status(), NOW).target.replicas == 0
    (again,) = standard.raised(Services(leaving))
    assert TRIAL not in again["metadata"]["annotations"], "a run of the same revision that begins anew keeps it"


def test_the_entry_of_another_revision_is_replaced_once_nobody_is_sent_to_it():
    standard, newer = Standard(), {"model": {**OLD["model"], "storageUri": "hf://org/m@3"}}
    tried = service(wanted=newer, canary=[entry(percent=30)], status=told(30))
    (drained,) = standard.raised(Services(tried))
    assert drained["spec"]["canary"] == [entry(percent=0)]
    leaving = service(wanted=newer, canary=[entry()], status=told(30))
    leaving["metadata"]["annotations"] |= drained["metadata"]["annotations"]
    assert standard.raised(Services(leaving)) == ()
    assert facts(standard, leaving).target.replicas == 0, "so that the run asks for it again"
    for left in (service(wanted=newer, status=told(30)), {**leaving, "status": told(0)}):
        (write,) = standard.raised(Services(left))
        assert [item["predictor"]["name"] for item in write["spec"]["canary"]] == [entry_name(revision_of(newer))]


def test_an_entry_without_traffic_goes_at_once_and_stays_while_it_waits_for_its_first_share():
    services = Services(service(wanted=NEW, canary=[entry()], status=told(0)))
    assert Standard().settled(services) == ()
    assert Standard().lowered(services, at_once=False)[0]["spec"] == {"predictor": OLD}


def test_an_entry_with_more_replicas_than_git_leaves_the_stable_predictor_goes_at_once():
    tried = entry(percent=30)
    tried["predictor"]["minReplicas"] = 1
    (write,) = Standard().weighted(Services(service(wanted=NEW, canary=[tried], status=told(30), minReplicas=0)), 0)
    assert write["spec"] == {"predictor": OLD}
