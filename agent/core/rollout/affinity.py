"""Session affinity: cookies that keep callers on the version they first got (Flagger's names and forms).

The value of a cookie follows from the revision on trial. So a process that dies between the route and the status makes
the same cookie again, and nobody loses the version that they were on.
"""

from __future__ import annotations

import hashlib
from string import ascii_letters

import msgspec

from agent.api.analysis import SessionAffinity
from agent.api.canary import Canary
from agent.api.duration import parse_duration
from agent.core.rollout.actions import Decision, SetRoutes, Weights, WriteStatus
from agent.core.rollout.plan import DEFAULT_INTERVAL, TOTAL_WEIGHT, Plan
from agent.core.rollout.snapshot import Snapshot
from agent.core.rollout.status import Status

COOKIE = "Cookie"
SET_COOKIE = "Set-Cookie"
_LENGTH = 10


class Cookies(msgspec.Struct, frozen=True, kw_only=True):
    """Cookies as `name=value`; the empty text means none.

    `canary` and `primary` mark callers during a run; `previous` is what is left of the last one and is taken away.
    """

    canary: str = ""
    primary: str = ""
    previous: str = ""


NO_COOKIES = Cookies()


def cookies_of(plan: Plan, status: Status) -> Cookies:
    """The cookies of the run, or of the rest after it. None without session affinity, or where requests are matched."""
    if not plan.canary_cookie or plan.matched:
        return NO_COOKIES
    primary = status.primary_session_affinity_cookie or _made(plan, status, plan.primary_cookie)
    return Cookies(
        canary=status.session_affinity_cookie or _made(plan, status, plan.canary_cookie),
        primary=primary if plan.primary_cookie else "",
        previous=status.session_affinity_cookie or status.previous_session_affinity_cookie or "",
    )


def remembering(snapshot: Snapshot, decision: Decision) -> Decision:
    """The decision with the cookies of its routes in the status that it writes."""
    moves = [action.weights for action in decision.actions if isinstance(action, SetRoutes)]
    cookies = cookies_of(snapshot.plan, snapshot.status)
    if not moves or cookies == NO_COOKIES:
        return decision
    actions = tuple(
        WriteStatus(_marked(action.status, cookies, running=moves[-1].canary > 0))
        if isinstance(action, WriteStatus)
        else action
        for action in decision.actions
    )
    return msgspec.structs.replace(decision, actions=actions)


def _marked(status: Status, cookies: Cookies, *, running: bool) -> Status:
    if running:
        return msgspec.structs.replace(
            status,
            session_affinity_cookie=cookies.canary,
            primary_session_affinity_cookie=cookies.primary or status.primary_session_affinity_cookie,
        )
    if not cookies.previous:
        return status
    return msgspec.structs.replace(
        status, session_affinity_cookie="", previous_session_affinity_cookie=cookies.previous
    )


def set_cookie(affinity: SessionAffinity, cookie: str, max_age: int) -> str:
    """The value of a Set-Cookie header. `max_age` in seconds."""
    parts = [cookie, f"Max-Age={max_age}"]
    parts += [f"Domain={affinity.domain}"] if affinity.domain else []
    parts += ["HttpOnly"] if affinity.http_only else []
    parts += ["Partitioned"] if affinity.partitioned else []
    parts += [f"Path={affinity.path}"] if affinity.path else []
    parts += [f"SameSite={affinity.same_site}"] if affinity.same_site else []
    parts += ["Secure"] if affinity.secure else []
    return "; ".join(parts)


def expired(cookie: str) -> str:
    """The value of a Set-Cookie header that takes a cookie away."""
    return f"{cookie}; Max-Age=-1"


def pattern(cookie: str) -> str:
    """The regular expression by which a Cookie header with this cookie is known."""
    name, _, value = cookie.partition("=")
    return f".*{name}.*{value}.*"


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """A rule for callers with a cookie, which comes before the rule that weighs.

    They go by `weights` (primary, canary) and whoever `service` serves gets the cookie by `hands_out`; with `expires`
    the cookie is a former run's: it is taken away, and they are weighed like everybody.
    """

    cookie: str
    weights: tuple[int, int] = (0, 0)
    service: str = ""
    hands_out: str = ""
    expires: bool = False


def sticking(canary: Canary, weights: Weights, cookies: Cookies) -> tuple[Stay, ...]:
    """The rules that session affinity needs at these weights."""
    affinity = canary.spec.analysis.session_affinity
    if affinity is None or not cookies.canary:
        return ()
    if weights.canary == 0:
        return (Stay(cookie=cookies.previous, expires=True),) if cookies.previous else ()
    stays = [
        Stay(
            cookie=cookies.canary,
            weights=(0, TOTAL_WEIGHT),
            service=canary.canary_service_name,
            hands_out=set_cookie(affinity, cookies.canary, affinity.max_age),
        )
    ]
    if cookies.primary:
        text = set_cookie(affinity, cookies.primary, int(interval_of(canary)))
        service = canary.primary_service_name
        stays.append(Stay(cookie=cookies.primary, weights=(TOTAL_WEIGHT, 0), service=service, hands_out=text))
    return tuple(stays)


def interval_of(canary: Canary) -> float:
    """Seconds between two checks: so long a caller of the primary stays there at least."""
    try:
        return parse_duration(canary.spec.analysis.interval)
    except ValueError:
        return DEFAULT_INTERVAL


def _made(plan: Plan, status: Status, name: str) -> str:
    configs = ",".join(f"{key}={checksum}" for key, checksum in sorted(status.tracked.items()))
    seed = f"{plan.uid}/{plan.namespace}/{plan.name}/{name}/{status.last_applied_spec}/{configs}"
    digest = hashlib.sha256(seed.encode()).digest()[:_LENGTH]
    return f"{name}={''.join(ascii_letters[byte % len(ascii_letters)] for byte in digest)}"
