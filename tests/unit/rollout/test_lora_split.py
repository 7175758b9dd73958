"""An adapter that is tried in the pods that serve: when that is possible, and what everybody is answered meanwhile."""

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.canary import Canary
from agent.core.judge.packs import Series
from agent.core.judge.queries import Fleet, Pods, Point, by_pod, counted
from agent.core.rollout.actions import Weights
from agent.core.rollout.kserve.content import PROMOTED, TRIAL, WANTED, asked_of, serving_on, trial_on
from agent.core.rollout.kserve.lora import Lora, uncounted, uses_pods_that_serve
from agent.core.rollout.kserve.services import needs_room
from agent.core.rollout.kserve.serving import Bring, Remove, ServiceError, Services, Withdraw
from agent.core.rollout.kserve.split import (
    NoSplitError,
    Pool,
    ServingPod,
    served_everywhere,
    serving_pods,
    share_of,
    split_between,
    unready_pods,
)
from agent.core.rollout.plan import Plan
from agent.core.rollout.status import Status

API = "llm-d.ai/v1alpha2"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
PLAN = Plan(
    name="chat", namespace="ml", target_kind="LLMInferenceService", target="chat", service="chat", provider="kserve"
)
LOADS = {"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "True"}


def content(version, *, base="1", **more):
    adapters = [{"name": "sql", "uri": f"hf://org/sql-{version}"}, {"name": "chat", "uri": "hf://org/chat"}]
    return {"model": {"uri": f"hf://org/m-{base}", "name": "m", "lora": {"adapters": adapters}}, **more}


def service(serves, asked, *, scheduler=()):
    router = {"route": {}, **({} if scheduler is None else {"scheduler": dict(scheduler)})}
    notes = {WANTED: json.dumps(asked), PROMOTED: json.dumps({"content": serves, "identity": "u"})}
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LLMInferenceService",
        "metadata": {"name": "chat", "namespace": "ml", "uid": "1", "annotations": notes},
        "spec": {**serves, "router": router},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def pool(**more):
    return Pool(**{"api": API, "pods": (ServingPod(name="chat-kserve-1-a", url="http://x"),), **more})


def facts(services):
    return Lora().facts(services, PLAN, Status(last_transition_time=NOW), NOW)


OLD, NEW = content("1"), content("2")
SPLIT = split_between(OLD, NEW)


def test_the_new_adapter_has_a_name_that_follows_from_its_address():
    assert (SPLIT.adapter, SPLIT.path) == ("sql", "org/sql-2")
    assert SPLIT.tried.startswith("sql-")
    assert split_between(NEW, OLD).tried != SPLIT.tried
    assert split_between(content("0"), NEW) == SPLIT


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (content("2", base="2"), "more than the address"),
        (content("2", replicas=2), "more than the address"),
        ({"model": {**NEW["model"], "lora": {"adapters": []}}}, "more than the address"),
        (OLD, "0 adapters differ"),
        (json.loads(json.dumps(NEW).replace("org/chat", "org/talk")), "2 adapters differ"),
        (json.loads(json.dumps(NEW).replace("hf://org/sql-2", "s3://b/sql")), "cannot load s3://b/sql"),
        (json.loads(json.dumps(NEW).replace("sql-2", "sql-2:main")), "cannot load"),
        (json.loads(json.dumps(NEW).replace("org/sql-2", "../sql-2")), "cannot load"),
    ],
)
def test_nothing_else_may_differ_and_the_server_must_be_able_to_fetch_it(after, why):
    with pytest.raises(NoSplitError, match=why):
        split_between(OLD, after)


@pytest.mark.parametrize("field", ["worker", "prefill"])
def test_servers_of_several_processes_are_left_alone(field):
    with pytest.raises(NoSplitError, match=field):
        split_between({**OLD, field: {"x": 1}}, {**NEW, field: {"x": 1}})


def rival(name="theirs", model="sql", pool="chat-inference-pool"):
    rule = {"matches": [{"model": {"value": model}}], "targets": [{"modelRewrite": "x"}]}
    return {"metadata": {"name": name}, "spec": {"poolRef": {"name": pool}, "rules": [rule]}}


@pytest.mark.parametrize(
    ("known", "scheduler", "why"),
    [
        (pool(), {}, ""),
        (pool(rewrites=(rival(model="chat"), rival(pool="other"))), {}, ""),
        (pool(refusal="somebody says no"), {}, "somebody says no"),
        (pool(api=""), {}, "serves no InferenceModelRewrite that"),
        (pool(), None, "no spec.router.scheduler"),
        (pool(), {"pool": {"ref": {"name": "theirs"}}}, "spec.router.scheduler.pool.ref"),
        (pool(), {"pool": {"spec": {}}}, ""),
        (pool(pods=()), {}, "no pod of it serves"),
        (pool(pods=(ServingPod(name="p", url="", unable="it cannot"),)), {}, "pod p: it cannot"),
        (pool(rewrites=(rival(),)), {}, "InferenceModelRewrite theirs of somebody else rewrites adapter sql"),
        (pool(rewrites=(rival(model="publishers/ml/models/sql"),)), {}, "theirs"),
        (pool(rewrites=(rival("chat-canary", model="x"),)), {}, "chat-canary of somebody else"),
    ],
)
def test_a_run_says_which_way_it_goes_and_why(known, scheduler, why):
    services = Services(service(OLD, NEW, scheduler=scheduler), pool=known)
    found, raised = facts(services), Lora().raised(services)
    assert needs_room(services) is bool(why)
    if why:
        assert why in found.target.way
        assert "pods of its own" in found.target.way
        assert [write["metadata"]["name"] for write in raised] == ["chat-canary"]
    else:
        assert SPLIT.tried in found.target.way
        assert found.target.fleet.model == SPLIT.tried
        assert raised[1:] == (Bring(wanted={SPLIT.tried: "org/sql-2"}),)
        assert raised[0]["spec"]["model"] == OLD["model"], "what serves stays"


def test_other_changes_are_not_told_about():
    services = Services(service(OLD, content("1", base="2")), pool=pool())
    assert facts(services).target.way == ""


def test_a_run_with_pods_of_its_own_stays_one():
    obj = service(OLD, NEW)
    second = {**obj, "metadata": {**obj["metadata"], "name": "chat-canary"}}
    assert not uses_pods_that_serve(Services(obj, second, pool=pool()))


def pod(name="chat-kserve-7d9c4f7b86-x1y2z", *, env=(LOADS,), args=(), ready="True", **metadata):
    container = {"name": "main", "env": list(env), "args": list(args), "ports": [{"containerPort": 8001}]}
    return {
        "metadata": {"name": name, **metadata},
        "spec": {"containers": [{"name": "sidecar"}, container]},
        "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": ready}]},
    }


@pytest.mark.parametrize(
    ("found", "unable"),
    [
        (pod(), ""),
        (pod(env=()), "VLLM_ALLOW_RUNTIME_LORA_UPDATING is not set"),
        (pod(args=["exec vllm serve --ssl-certfile /x"]), "TLS"),
        (pod(args=["--api-key", "x"]), "API key"),
        (pod(env=[LOADS, {"name": "VLLM_ADDITIONAL_ARGS", "value": "--data-parallel-size 2"}]), "several processes"),
        (pod(ready="False"), None),
        (pod(deletionTimestamp="now"), None),
        (pod("chat-kserve-router-scheduler-7d9c4f7b86-x1y2z"), None),
    ],
)
def test_pods_tell_whether_they_load_adapters(found, unable):
    known = serving_pods([found], Fleet("chat-kserve").pattern)
    assert [one.unable for one in known] == ([] if unable is None else known and [known[0].unable])
    if unable is not None:
        assert known[0].url == "http://10.0.0.1:8001"
        assert unable in known[0].unable
        assert bool(unable) is bool(known[0].unable)


def test_a_pod_that_has_ceased_to_be_ready_while_its_server_runs_may_serve_again():
    def unready(since, state, ready="False", **more):
        found = pod(ready=ready, **more)
        found["status"]["conditions"][0]["lastTransitionTime"] = since
        found["status"]["containerStatuses"] = [{"name": "main", "state": state}]
        return [one.url for one in unready_pods([found], Fleet("chat-kserve").pattern)]

    before, start, after = (f"2026-11-30T12:00:0{second}Z" for second in range(3))
    running = {"running": {"startedAt": start}}
    assert unready(after, running) == ["http://10.0.0.1:8001"]
    assert unready(before, running) == unready(start, running) == [], "it is starting"
    assert unready(after, {"waiting": {}}) == unready(after, running, ready="True") == []
    assert unready(after, running, env=()) == unready(after, running, deletionTimestamp="now") == []
    assert unready_pods([pod(ready="False")], Fleet("chat-kserve").pattern) == ()


def test_an_adapter_that_a_server_refuses_is_a_failed_load():
    wanted = {SPLIT.tried: SPLIT.path}
    there = ServingPod(name="a", url="", served=wanted)
    refused = ServingPod(name="b", url="", fault="No adapter found", hopeless=True)
    assert served_everywhere([there], wanted).ready
    assert served_everywhere([there, ServingPod(name="b", url="", served={})], wanted).retriable
    assert not served_everywhere([there, ServingPod(name="b", url="", served={SPLIT.tried: "old"})], wanted).ready
    assert served_everywhere([there, refused], wanted).retriable is False
    late = ServingPod(name="a", url="", served=wanted, fault="has already been loaded", hopeless=True)
    assert served_everywhere([late], wanted).ready, "what was asked for twice is there"
    assert not served_everywhere([], wanted).ready


def canary(*metrics, **notes):
    return Canary.from_object(
        {
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": {"name": "chat", "namespace": "ml", "annotations": notes},
            "spec": {
                "targetRef": {
                    "apiVersion": "serving.kserve.io/v1alpha1",
                    "kind": "LLMInferenceService",
                    "name": "chat",
                },
                "analysis": {"interval": "1m", "threshold": 1, "stepWeight": 10, "metrics": list(metrics)},
            },
        }
    )


RATE = {"name": "request-success-rate", "thresholdRange": {"min": 99}}


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (canary(), ""),
        (canary(RATE, **{"weir.dev/judge": "comparative"}), ""),
        (canary(RATE), "Flagger's rule"),
        (canary({"name": "llm-queue-time"}, **{"weir.dev/judge": "guarded"}), "is one of pods"),
        (canary({"name": "x", "query": "up"}, **{"weir.dev/judge": "guarded"}), "is one of pods"),
        (canary(**{"weir.dev/adapters": "pods"}), "says so"),
        (canary(**{"weir.dev/metric-pack": "vllm"}), "pack vllm"),
        (canary(**{"weir.dev/judge": "comparative", "weir.dev/baseline": "fresh"}), "fresh baseline"),
    ],
)
def test_what_counts_pods_cannot_tell_two_adapters_apart(one, why):
    assert why in uncounted(one)
    assert bool(why) is bool(uncounted(one))


def test_requests_are_told_apart_by_the_name_they_were_sent_to():
    picker = "chat-kserve-router-scheduler"
    pods = Pods(namespace="ml", canary=Fleet(picker, model="sql-2.0"), primary=Fleet(picker, model="sql"))
    query = counted(Series(("llm_d_epp_request_total",)), pods, 60)
    assert 'target_model_name=~"sql-2[.]0|sql"' in query
    assert query.startswith("sum by (pod,kubernetes_pod_name,target_model_name)")
    name = f"{picker}-7d9c4f7b86-x1y2z"
    points = [Point({"pod": name, "target_model_name": model}, value) for model, value in (("sql", 7), ("sql-2.0", 3))]
    points += [Point({"pod": name, "target_model_name": "chat"}, 9), Point({"pod": name}, 9)]
    assert by_pod(points, pods, "canary") == {name: 3}
    assert by_pod(points, pods, "primary") == {name: 7}


# What clients get, while agents die between any two writes.


class Never(random.Random):
    """Nobody dies."""

    def random(self) -> float:
        return 1.0


NEVER = Never()


@dataclass
class World:
    """An API server, an endpoint picker and pods, as far as writes reach them. `cut`: writes until the next death."""

    obj: dict[str, Any] = field(default_factory=lambda: service(OLD, NEW))
    rewrite: dict[str, Any] | None = None
    pods: list[dict[str, str]] = field(default_factory=lambda: [{"sql": "/mnt/lora/sql"} for _ in range(2)])
    seen: list[dict[str, float]] = field(default_factory=list)

    def services(self):
        pods = tuple(ServingPod(name=str(n), url="", served=served) for n, served in enumerate(self.pods))
        rewrites = (self.rewrite,) if self.rewrite else ()
        return Services(self.obj, pool=Pool(api=API, rewrites=rewrites, pods=pods))

    def do(self, writes, dice):
        """Perform writes; an agent may die before each, and what it has begun is begun again by the next one."""
        for write in writes:
            if dice.random() < 0.3:
                return False
            self.write(write)
            self.look()
        return True

    def write(self, write):
        assert not isinstance(write, Remove)
        if isinstance(write, Withdraw):
            self.rewrite = None
        elif isinstance(write, Bring):
            stays = [{name: path for name, path in pod.items() if name not in write.gone} for pod in self.pods]
            moved = [{n: path for n, path in pod.items() if write.wanted.get(n, path) == path} for pod in stays]
            for found in (moved, [{**pod, **write.wanted} for pod in moved]):  # an adapter that moves is unloaded first
                self.pods = found
                self.look()
        elif write["kind"] == "InferenceModelRewrite":
            assert sum(target["weight"] for target in write["spec"]["rules"][0]["targets"]) == 100
            assert all(target["weight"] >= 1 for target in write["spec"]["rules"][0]["targets"])
            self.rewrite = write
        else:
            kept = {WANTED: self.obj["metadata"]["annotations"][WANTED]}
            metadata = {**self.obj["metadata"], "annotations": {**kept, **write["metadata"]["annotations"]}}
            spec = {**self.obj["spec"], **{k: v for k, v in write["spec"].items() if k != "router"}}
            self.obj = {**self.obj, "metadata": metadata, "spec": spec}

    def replace_pods(self):
        """KServe starts pods with what the object says: their adapter is at the same place, whatever its address."""
        self.pods = [{"sql": "/mnt/lora/sql"} for _ in self.pods]

    def look(self):
        """The shares of answers by the adapter that gave them; nobody may ask a pod for what it does not know."""
        share = share_of(SPLIT, self.rewrite) / 100
        here = self.obj["spec"]["model"]["lora"]["adapters"][0]["uri"].removeprefix("hf://")
        found: dict[str, float] = {}
        for name, part in (("sql", 1 - share), (SPLIT.tried, share)):
            for served in self.pods if part else ():
                path = served[name]
                path = here if path == "/mnt/lora/sql" else path
                found[path] = found.get(path, 0.0) + part / len(self.pods)
        self.seen.append(found)

    def until(self, choose, done, dice):
        """Begin again until it is so."""
        for _ in range(200):
            self.do(Lora().settled(self.services()), dice)
            if done():
                return
            self.do(choose(self.services()), dice)
        raise AssertionError("it comes to no end")


def raise_(world, dice):
    wanted = {SPLIT.tried: SPLIT.path}
    world.until(Lora().raised, lambda: served_everywhere(world.services().pool.pods, wanted).ready, dice)


def weigh(world, percent, dice):
    is_so = lambda: Lora().weights(world.services()) == Weights(100 - percent, percent)  # noqa: E731
    world.until(lambda services: Lora().weighted(services, percent), is_so, dice)


@given(st.integers(0, 10_000).map(random.Random))
def test_a_promotion_never_goes_back_and_never_asks_in_vain(dice):
    world = World()
    raise_(world, dice)
    weigh(world, 30, dice)
    weigh(world, 60, dice)
    over = lambda: trial_on(world.obj) is None and serving_on(world.obj).identity == "new"  # noqa: E731
    world.until(lambda services: Lora().promoted(services, "new"), over, dice)
    world.replace_pods()
    world.look()
    shares = [seen.get("org/sql-2", 0.0) for seen in world.seen]
    assert shares == sorted(shares), "the new adapter's share only grows"
    assert shares[-1] == 1
    assert world.rewrite is None
    assert asked_of(world.obj)[1] == serving_on(world.obj).content == NEW
    assert facts(world.services()).matches
    assert facts(world.services()).primary.ready.ready


@given(st.integers(0, 10_000).map(random.Random))
def test_a_rollback_takes_requests_away_before_the_adapter(dice):
    world = World()
    raise_(world, dice)
    weigh(world, 30, dice)
    weigh(world, 0, dice)
    world.until(lambda services: Lora().lowered(services, at_once=False), lambda: trial_on(world.obj) is None, dice)
    assert world.rewrite is None
    assert all(set(served) == {"sql"} for served in world.pods)
    assert world.obj["spec"]["model"] == OLD["model"]
    assert world.seen[-1] == {"org/sql-1": 1}


@given(st.integers(0, 10_000).map(random.Random))
def test_a_revision_that_comes_meanwhile_replaces_what_is_tried(dice):
    world = World()
    raise_(world, dice)
    weigh(world, 30, dice)
    third = content("3")
    world.obj["metadata"]["annotations"][WANTED] = json.dumps(third)
    weigh(world, 0, dice)
    assert facts(world.services()).target.replicas == 0, "so that it is brought up"
    world.do(Lora().raised(world.services()), NEVER)
    assert all(SPLIT.tried in served for served in world.pods), "requests may be on their way to it"
    fresh = split_between(OLD, third)
    wanted = {fresh.tried: fresh.path}
    world.until(Lora().raised, lambda: served_everywhere(world.services().pool.pods, wanted).ready, dice)
    assert all(set(served) == {"sql", fresh.tried} for served in world.pods)
    assert trial_on(world.obj).split == fresh


def test_a_promotion_waits_for_pods_that_do_not_answer():
    world = World()
    raise_(world, NEVER)
    weigh(world, 60, NEVER)
    world.do(Lora().promoted(world.services(), "new"), NEVER)
    found = facts(world.services())
    assert (found.matches, found.primary.ready.ready, found.primary.ready.retriable) == (True, False, True)
    assert Lora().weights(world.services()) == Weights(0, 100)
    (bring, *_) = Lora().settled(world.services())
    assert bring.required, "nothing else happens until every pod has it"
    assert bring.unready, "those that may serve again any moment, too"
    assert bring.wanted == {"sql": "org/sql-2", "publishers/ml/models/sql": "org/sql-2"}
    known = world.services()
    pool = msgspec.structs.replace(
        known.pool,
        unready=(ServingPod(name="x", url=""),),
        pods=(ServingPod(name="a", url="", served={**bring.wanted, SPLIT.tried: SPLIT.path}),),
    )
    assert "pod x is not ready any more" in facts(Services(known.target, pool=pool)).primary.ready.text
    (last, *_) = Lora().lowered(world.services(), at_once=True)
    assert not last.required, "nobody comes again"


def test_a_pod_that_starts_in_mid_run_is_brought_up_before_anything_goes_on():
    world = World()
    raise_(world, NEVER)
    weigh(world, 30, NEVER)
    world.pods[0] = {"sql": "/mnt/lora/sql"}
    found = facts(world.services()).target
    assert (found.shared, found.lacking, found.ready.ready, found.ready.retriable) == (True, True, False, True)
    writes = Lora().settled(world.services())
    world.do(writes, NEVER)
    assert share_of(SPLIT, world.rewrite) == 30
    assert served_everywhere(world.services().pool.pods, {SPLIT.tried: SPLIT.path}).ready
    (_, bring, _) = writes
    assert bring.required, "or requests are sent to a pod that could not load it"


def test_a_pod_that_tells_nothing_takes_no_requests_away():
    world = World()
    raise_(world, NEVER)
    weigh(world, 30, NEVER)
    pods = (ServingPod(name="a", url=""), ServingPod(name="b", url="", served={SPLIT.tried: SPLIT.path}))
    known = world.services()
    services = Services(known.target, pool=Pool(api=API, rewrites=known.pool.rewrites, pods=pods))
    assert Lora().settled(services) == (Bring(wanted={SPLIT.tried: SPLIT.path}),)


def test_a_promotion_does_not_wait_for_a_pod_that_never_gets_what_is_asked_for():
    world = World()
    raise_(world, NEVER)
    weigh(world, 60, NEVER)
    world.do(Lora().promoted(world.services(), "new"), NEVER)
    assert (facts(world.services()).target.shared, facts(world.services()).target.lacking) == (True, False)
    world.pods[0] = {"sql": "/mnt/lora/sql"}
    assert facts(world.services()).target.lacking
    (bring, *more) = Lora().settled(world.services())
    assert not bring.required
    assert next(iter(bring.wanted.items())) == (SPLIT.tried, SPLIT.path)
    for write in more:
        world.write(write)
    world.look()
    assert world.rewrite is None
    assert world.obj["spec"]["model"] == NEW["model"], "so KServe replaces the pods"


@pytest.mark.parametrize("kind", ["Canary", "Deployment"])
def test_a_rewrite_that_is_left_of_a_target_that_was_deleted_goes(kind):
    """Or requests go on to a name that no pod knows."""
    world = World()
    raise_(world, NEVER)
    weigh(world, 30, NEVER)
    left = {**world.rewrite, "metadata": {"name": "chat-canary", "ownerReferences": [{"kind": kind}]}}
    services = Services(service(OLD, NEW), pool=pool(rewrites=(left,)))
    assert Lora().settled(services) == ((Withdraw("chat-canary"),) if kind == "Canary" else ())


def test_a_revision_that_comes_in_mid_promotion_does_not_end_it_early():
    world = World()
    raise_(world, NEVER)
    world.do(Lora().promoted(world.services(), "new"), NEVER)
    world.obj["metadata"]["annotations"][WANTED] = json.dumps(content("3", base="2"))
    assert not facts(world.services()).primary.ready.ready
    world.do(Lora().settled(world.services()), NEVER)
    assert facts(world.services()).primary.ready.ready


def test_a_rollback_withdraws_a_rewrite_that_could_not_be_listed():
    world = World()
    raise_(world, NEVER)
    weigh(world, 30, NEVER)
    blind = Services(world.obj, pool=Pool(pods=world.services().pool.pods))
    assert Lora().lowered(blind, at_once=False)[0] == Lora().lowered(blind, at_once=True)[0] == Withdraw("chat-canary")


def test_without_analysis_a_promotion_comes_to_its_end_at_rest():
    world = World()
    raise_(world, NEVER)
    world.do(Lora().promoted(world.services(), "new"), NEVER)
    assert Lora().lowered(world.services(), at_once=False) == ()
    for _ in range(2):
        world.do(Lora().settled(world.services()), NEVER)
    assert (world.rewrite, trial_on(world.obj), world.obj["spec"]["model"]) == (None, None, NEW["model"])


def test_a_split_of_which_the_kind_has_gone_is_told():
    world = World()
    raise_(world, NEVER)
    with pytest.raises(ServiceError, match="not served any more"):
        Lora().weighted(Services(world.obj, pool=Pool(pods=world.services().pool.pods)), 30)


def test_a_canary_that_goes_away_in_mid_promotion_leaves_the_promoted_adapter():
    world = World()
    raise_(world, NEVER)
    weigh(world, 60, NEVER)
    world.do(Lora().promoted(world.services(), "new"), NEVER)
    world.do(Lora().lowered(world.services(), at_once=True), NEVER)
    assert (world.rewrite, trial_on(world.obj)) == (None, None)
    assert world.obj["spec"]["model"] == NEW["model"]
    assert world.seen[-1] == {"org/sql-2": 1}


def test_the_note_of_a_trial_without_a_split_is_what_it_was():
    obj = service(OLD, NEW)
    (second,) = Lora().raised(Services(obj, pool=pool(api="")))
    assert json.loads(second["metadata"]["annotations"][TRIAL]) == {"revision": asked_of(obj)[0]}
