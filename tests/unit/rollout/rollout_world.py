"""A small world in which a Canary lives, for tests of the machine: actions change it, snapshots are taken of it.

It models what matters for the machine's promises: the target and primary with their revisions, the router's weights,
the stored status. A process that dies is an action list that is cut short.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from agent.api.analysis import HookType
from agent.api.judge import Conclusion, Finding
from agent.core.judge.looks import Looks
from agent.core.rollout import actions as act
from agent.core.rollout.changes import identity
from agent.core.rollout.commands import HANDLED, OUTCOME, hold, pending
from agent.core.rollout.gates import Observed, Result, with_results
from agent.core.rollout.judgement import Judgement, Verdict
from agent.core.rollout.machine import step
from agent.core.rollout.plan import Bounds, MetricSpec, Plan
from agent.core.rollout.readiness import Readiness
from agent.core.rollout.snapshot import Answers, HookResult, Snapshot, Stage, Workload, stage_after
from agent.core.rollout.status import Phase, Status
from agent.core.rollout.weighing import Doubt, Weighed

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
METRIC = MetricSpec(name="errors", bounds=Bounds(maximum=1.0), query="errors")


def make_plan(**changes) -> Plan:
    defaults = {
        "name": "chat",
        "namespace": "prod",
        "uid": "u1",
        "target": "chat",
        "service": "chat",
        "provider": "gatewayapi:v1",
        "interval": 10.0,
        "threshold": 2,
        "step_weight": 20,
        "max_weight": 60,
        "metrics": (METRIC,),
    }
    return Plan(**{**defaults, **changes})


class Died(Exception):
    """The process was killed between two actions."""


@dataclass
class World:
    plan: Plan
    revision: str = "a"
    configs: dict[str, str] = field(default_factory=dict)
    bad: frozenset[str] = frozenset()
    unready: frozenset[str] = frozenset()
    stuck: frozenset[str] = frozenset()
    refusing: dict[HookType, int] = field(default_factory=dict)
    now: datetime = START
    status: Status = field(default_factory=Status)
    target_replicas: int = 2
    primary: str | None = None
    primary_identity: str = ""
    primary_replicas: int = 0
    full_replicas: int | None = None
    wanted_replicas: int | None = None
    answering: int = 0
    primary_configs: dict[str, str] = field(default_factory=dict)
    baseline: tuple[str, int] | None = None
    baseline_unready: bool = False
    routes: act.Weights = act.HOME
    apex: bool = False
    deleting: bool = False
    finalizer: bool = False
    refused: tuple[str, str] | None = None
    log: list[act.Action] = field(default_factory=list)
    phases: list[tuple[Phase, Phase]] = field(default_factory=list)
    moves: list[tuple[Phase, act.Weights, act.Weights]] = field(default_factory=list)
    promotions: list[str] = field(default_factory=list)
    counts: list[bool] = field(default_factory=list)
    asked: list[HookType] = field(default_factory=list)
    gone: bool = False
    annotations: dict[str, str] = field(default_factory=dict)
    gates: dict[str, Observed] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    cleared: int = 0
    obstacles: tuple[tuple[str, str], ...] = ()
    sought: int = 0
    held: frozenset[str] = frozenset()
    content_changed: bool = False
    means: dict[str, str] = field(default_factory=dict)
    """The revision that one says the same as, in other words."""
    size: int = 0
    conclusions: dict[str, Conclusion] = field(default_factory=dict)
    failing_number: bool = False
    ample: bool = False

    def hash_of(self, revision: str) -> str:
        return f"v2:{revision}"

    def readiness(self, revision: str, replicas: int) -> Readiness:
        if replicas and revision in self.stuck:
            return Readiness("exceeded its progress deadline", retriable=False)
        if replicas and revision in self.unready:
            return Readiness("waiting for rollout to finish: 0 of 1 updated replicas are available")
        return Readiness()

    def snapshot(self, stage: Stage, answers: Answers, *, due: bool) -> Snapshot:
        primary = None
        if stage >= Stage.PREPARED and self.primary is not None:
            ready = self.readiness(f"{self.primary}-primary", self.primary_replicas)
            primary = Workload(
                hash=f"v2:{self.primary}",
                replicas=self.primary_replicas,
                ready=ready,
                images=(self.primary,),
                identity=self.primary_identity,
                available=self.primary_replicas if ready.ready else self.answering,
                full_replicas=self.full_replicas,
            )
        baseline = None
        if stage >= Stage.PREPARED and self.baseline is not None:
            revision, replicas = self.baseline
            waiting = Readiness("waiting for rollout to finish: 0 of 1 updated replicas are available")
            ready = waiting if self.baseline_unready else Readiness()
            baseline = Workload(hash="v2:base", replicas=replicas, ready=ready, identity=revision)
        return Snapshot(
            plan=self.plan,
            baseline=baseline,
            status=self.status,
            now=self.now,
            due=due,
            stage=stage,
            deleting=self.deleting,
            finalizer=self.finalizer,
            refused=self.refused,
            target=Workload(
                hash=self.hash_of(self.revision),
                replicas=self.target_replicas,
                ready=self.readiness(self.revision, self.target_replicas),
                images=(self.revision,),
                wanted_replicas=self.wanted_replicas,
            ),
            tracked=dict(self.configs),
            promoted_tracked=dict(self.primary_configs),
            primary=primary,
            primary_matches=self.primary == self.revision,
            routes=self.routes if self.plan.routed else act.Weights(0, 0),
            answers=answers,
            quarantined=f"{self.revision} was rejected" if self.revision in self.held else "",
            results=self.results,
            command=pending(self.annotations),
            hold=hold(self.annotations),
            content_changed=self.content_changed,
            reworded=self.reworded(primary),
            bytes=self.size,
        )

    def reworded(self, primary: Workload | None) -> tuple[str, ...]:
        """As a controller finds it out: of a revision that the status does not speak of, once the primary is read."""
        known = self.status.last_applied_spec == self.hash_of(self.revision)
        if primary is None or self.primary is None or known or self.primary == self.revision:
            return ()
        here, there = (self.means.get(one, one) for one in (self.revision, self.primary))
        return ("container[server].model",) if here == there and self.configs == self.primary_configs else ()

    def tick(self, *, due: bool = True, crash_after: int | None = None) -> str:
        """One tick, as a controller does it. Raises Died after so many actions."""
        stage, answers, done = Stage.GLANCE, Answers(), 0
        for _ in range(20):
            if self.gone:
                return "gone"
            decision = step(self.snapshot(stage, answers, due=due))
            for action in decision.actions:
                if crash_after is not None and done >= crash_after:
                    raise Died
                answers = self.perform(action, answers)
                done += 1
            stage = stage_after(stage, decision.actions)
            if not decision.again:
                if due:
                    self.now += timedelta(seconds=self.plan.interval)
                return decision.rule
        raise AssertionError("the tick does not come to an end")

    def run(self, ticks: int) -> list[str]:
        return [self.tick() for _ in range(ticks)]

    def texts(self) -> list[str]:
        return [action.text for action in self.log if isinstance(action, act.Emit)]

    def perform(self, action: act.Action, answers: Answers) -> Answers:
        self.log.append(action)
        match action:
            case act.EnsurePrimary(identity=name) if self.primary is None:
                self.primary, self.primary_identity = self.revision, name
                self.primary_replicas = max(self.target_replicas, 1)
                self.primary_configs = dict(self.configs)
            case act.EnsureApex():
                self.apex = True
            case act.Scale(replicas=count):
                self.target_replicas = count
            case act.ScalePrimary(replicas=count):
                self.primary_replicas, self.full_replicas = count, None
            case act.Exchange(primary=primary, target=target, full=full):
                self.primary_replicas, self.target_replicas, self.full_replicas = primary, target, full
            case act.EnsureBaseline(revision=revision, replicas=count):
                self.baseline = (revision, count)
            case act.DropBaseline():
                assert self.routes.baseline == 0, "its traffic went home before"
                self.baseline = None
            case act.SetRoutes(weights=weights):
                assert not weights.baseline or self.baseline is not None, "there is somebody to answer"
                self.moves.append((self.status.phase, self.routes, weights))
                self.routes = weights
            case act.Promote(identity=name):
                assert name == identity(self.plan, self.hash_of(self.revision), self.configs)
                self.primary, self.primary_identity = self.revision, name
                self.primary_configs = dict(self.configs)
                self.promotions.append(self.revision)
            case act.WriteStatus(status=status):
                if status.phase is not self.status.phase:
                    self.phases.append((self.status.phase, status.phase))
                self.status = status
            case act.Count(success=success):
                self.counts.append(success)
            case act.AskHooks():
                return self._ask(action, answers)
            case act.QueryMetrics():
                return _replace(answers, judgements=(self._judge(),))
            case act.SeekRoom():
                self.sought += 1
                return _replace(answers, obstacles=self.obstacles)
            case act.AskGates(gates=gates):
                return _replace(answers, gates=tuple(self.gates[gate.name] for gate in gates))
            case act.ClearGates():
                self.cleared += 1
            case act.KeepResults(results=fresh, promoted=promoted):
                self.results = with_results(self.results, fresh, promoted)
            case act.Acknowledge(command=command, outcome=outcome, text=text):
                self.annotations |= {HANDLED: command, OUTCOME: f"{outcome}: {text}"}
            case act.WeighEvidence():
                return _replace(answers, weighed=self._weigh())
            case act.AddFinalizer():
                self.finalizer = True
            case act.RestoreApex():
                self.apex = False
            case act.RemoveFinalizer():
                self.finalizer = False
                self.gone = self.deleting
            case _:
                pass
        return answers

    def _ask(self, action: act.AskHooks, answers: Answers) -> Answers:
        self.asked.append(action.kind)
        refusals = self.refusing.get(action.kind, 0)
        passed = refusals <= 0
        self.refusing[action.kind] = refusals - 1
        results = tuple(
            HookResult(kind=action.kind, name=hook.name, passed=passed, error="" if passed else "no")
            for hook in action.hooks
        )
        return _replace(answers, hooks={**answers.hooks, action.kind: results})

    def _weigh(self) -> Weighed:
        """Every look finds what the test says about the revision; each doubt has another number in its text."""
        usual = Conclusion.FAIL if self.revision in self.bad else Conclusion.PASS
        conclusion = self.conclusions.get(self.revision, usual)
        doubt = Doubt.TOO_FEW if conclusion is Conclusion.INCONCLUSIVE else None
        text = f"errors: {self.now:%M%S} of 200 samples so far"
        finding = Finding(metric="errors", conclusion=conclusion, test="ceiling", reason=text, samples=60.0)
        failed = "Halt chat.prod advancement errors 5.00 > 1" if self.failing_number else ""
        return Weighed(
            conclusion=conclusion,
            findings=(finding,),
            looks=Looks(count=1, samples=60.0),
            text=text,
            doubt=doubt,
            failed=failed,
            ample=self.ample,
        )

    def _judge(self) -> Judgement:
        verdict = Verdict.FAIL if self.revision in self.bad else Verdict.PASS
        text = "" if verdict is Verdict.PASS else "Halt chat.prod advancement errors 5.00 > 1"
        return Judgement(metric="errors", verdict=verdict, time=self.now, text=text)


def _replace(answers: Answers, **changes) -> Answers:
    return msgspec.structs.replace(answers, **changes)
