"""One door to all registries: remembers answers, asks once for many, and turns every failure into an outcome."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace

from agent.adapters.registries import (
    azurefiles,
    delta,
    dvc,
    git,
    hdfs,
    hf,
    iceberg,
    lakefs,
    lfs,
    mlflow,
    modelregistry,
    modelscope,
    ngc,
    objects,
    oci,
    pachyderm,
    wandb,
    web,
)
from agent.adapters.registries.access import Access, Registered, RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.core.models import Grammar, Ref, parse
from agent.core.models.ref import MALFORMED, SECRET_KEYED, Size
from agent.core.registries.outcome import Found, Missing, Outcome, completed, shortened
from agent.telemetry.logging import named

Ask = Callable[[Fetcher, Access, str], Awaitable[Found]]
AccessFor = Callable[[Ref], Access | None]
"""How the registry of a reference is reached; None if nobody may ask it."""

_DIRECT: Final[Mapping[str, Ask]] = {
    "hf-model": hf.resolve,
    "hf-dataset": hf.resolve,
    "oci": oci.resolve,
    "ollama": oci.resolve,
    "s3": objects.s3,
    "gs": objects.gs,
    "azure": objects.azure,
    "azure-file": azurefiles.resolve,
    "http": web.resolve,
    "lakefs": lakefs.resolve,
    "git": git.resolve,
    "modelscope": modelscope.resolve,
    "iceberg": iceberg.resolve,
    "wandb": wandb.resolve,
    "ngc": ngc.resolve,
    "hdfs": hdfs.resolve,
    "pachyderm": pachyderm.resolve,
}
Read = Callable[[Fetcher, Access, str], Awaitable[bytes]]
_CONTENT: Final[Mapping[str, Read]] = {
    "s3": objects.s3_content,
    "gs": objects.gs_content,
    "azure": objects.azure_content,
    "http": web.content,
    "lakefs": lakefs.content,
}
LookUp = Callable[[Fetcher, Access, str], Awaitable[Registered]]
_BY_NAME: Final[Mapping[str, LookUp]] = {
    **dict.fromkeys(("mlflow-version", "mlflow-alias", "mlflow-stage", "mlflow-run"), mlflow.look_up),
    "model-registry": modelregistry.look_up,
}
_WRITTEN: Final[Mapping[str, Grammar]] = {"model-registry": Grammar.KSERVE}
"""Whose rules the addresses of files follow that a registry knows."""
_PROXIED: Final = "mlflow-artifacts:"
"""What files begin with that MLflow keeps, and gives out, itself."""
_BY_CONTENT: Final = frozenset({"dvc", "git-lfs"})
"""The digest is known from Git; the question is whether the content is there."""
SCHEMES: Final = frozenset(_DIRECT) | frozenset(_BY_NAME) | _BY_CONTENT | {"delta"}
_RETRY: Final = 60.0
"""Seconds after which a failure is tried again, unless the registry names a time."""
_LONGEST: Final = 3600.0
"""Seconds to which that grows, doubling, while the registry does what is refused, such as listing too many folders."""
_FOREVER: Final = float("inf")
_KEPT: Final = 20_000
_HOPS: Final = 3
"""From a version over a logged model and a run to files; more is a circle."""


@dataclass(slots=True)
class _Known:
    outcome: Outcome
    found: Found | None
    until: float
    at: datetime
    asked: float
    pause: float = 0.0


class Resolver:
    """Answers are kept by canonical reference and credentials: for ever where the text pins, else for `ttl` seconds.

    An answer that is not whole, as when a registry has told the version and not its files, is kept for `ttl` too.
    """

    def __init__(
        self, fetcher: Fetcher, *, deadline: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetcher = fetcher
        self._deadline = deadline
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[_Known]] = {}

    async def resolve(self, ref: Ref, access_for: AccessFor, *, ttl: float, again_after: float | None = None) -> Ref:
        """The reference with its identity, digest and size, or with the reason why they are not known. Never raises.

        What is known for ever is asked for once more `again_after` so many seconds: pinned content may be taken away,
        or overwritten.
        """
        access = access_for(ref)
        told = ref.pinned != "opaque" and ref.unresolved not in {MALFORMED, SECRET_KEYED}
        if access is None or ref.scheme not in SCHEMES or not told:
            return ref
        known = await self._current(ref, access, access_for, ttl, again_after)
        return completed(ref, known.outcome, known.at, known.found)

    async def listing(self, ref: Ref, access_for: AccessFor) -> Mapping[str, str] | None:
        """The files of a folder of DVC with their hashes, by path; None if they cannot be read. Never raises."""
        access = access_for(ref)
        if access is None or access.refused is not None or ref.scheme != "dvc":
            return None
        try:
            async with asyncio.timeout(self._deadline):
                return await self._listing(ref, access, access_for)
        except (RegistryError, TimeoutError) as error:
            named("registries").info(f"the files of a folder are not known: {error}", reference=ref.canonical)
        except Exception:  # noqa: BLE001 - what a registry answers must not reach whoever tells of the change
            named("registries").exception("a listing cannot be dealt with", reference=ref.canonical)
        return None

    async def stop(self) -> None:
        """End the questions that nobody waits for any more."""
        tasks = tuple(self._asking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _current(
        self, ref: Ref, access: Access, access_for: AccessFor, ttl: float, again_after: float | None
    ) -> _Known:
        key = (ref.canonical, access.scope)
        known, now = self._known.get(key), self._clock()
        if known is not None and now < known.until:
            doubted = known.until == _FOREVER and again_after is not None and now - known.asked >= again_after
            if not doubted:
                return known
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(ref, access, access_for, ttl), name="resolver")
            self._asking[key] = task
            task.add_done_callback(lambda _task: self._asking.pop(key, None))
        return await asyncio.shield(task)

    async def _ask(self, ref: Ref, access: Access, access_for: AccessFor, ttl: float) -> _Known:
        key = (ref.canonical, access.scope)
        before = self._known.get(key)
        try:
            async with asyncio.timeout(self._deadline):
                outcome: Outcome = shortened(await self._outcome(ref, access, access_for))
        except RegistryError as error:
            outcome = error.missing
        except TimeoutError:
            outcome = Missing("timeout", f"the registry did not answer within {self._deadline:g}s")
        except Exception:  # noqa: BLE001 - what a registry answers must not reach whoever applies
            named("registries").exception("a registry's answer cannot be dealt with", reference=ref.canonical)
            outcome = Missing("unreadable", "the registry's answer cannot be dealt with")
        if isinstance(outcome, Found):
            certain = ref.pinned is True and not outcome.partial
            lifetime = _FOREVER if certain else ttl * random.uniform(0.9, 1.1)  # noqa: S311
            now = self._clock()
            known = _Known(outcome, outcome, now + lifetime, datetime.now(UTC), now)
        else:
            expected = ref.pinned is True and outcome.reason == "unsupported"  # nobody can tell, and nobody has to
            if (before is None or before.outcome != outcome) and not expected:
                shown = {"reference": ref.canonical, "reason": outcome.reason}
                named("registries").warning(f"what a reference means is not known: {outcome.message}", **shown)
            pause = outcome.after if outcome.after is not None else min(_RETRY, ttl)
            if before is not None and outcome.reason == "refused" and before.outcome == outcome:
                pause = min(max(pause, 2 * before.pause), _LONGEST)
            found = before.found if before is not None else None
            at = before.at if before is not None else datetime.now(UTC)
            now = self._clock()
            known = _Known(outcome, found, now + pause, at, now, pause)
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return known

    async def _outcome(self, ref: Ref, access: Access, access_for: AccessFor) -> Found:
        if access.refused is not None:
            raise RegistryError(access.refused.reason, access.refused.message)
        if ref.canonical.startswith(_PROXIED):
            return await mlflow.artifacts(self._fetcher, access, ref.canonical)
        if ref.scheme in _BY_NAME:
            return await self._registered(ref, access, access_for)
        if ref.scheme == "git-lfs":
            return await lfs.present(self._fetcher, access, ref)
        if ref.scheme == "dvc":
            return await self._tracked(ref, access, access_for)
        if ref.scheme == "delta":
            return await self._table(ref, access, access_for)
        return await _DIRECT[ref.scheme](self._fetcher, access, ref.canonical)

    async def _registered(self, ref: Ref, access: Access, access_for: AccessFor) -> Found:
        """A registered model has the digest of the files that its version points at, where those can be asked for.

        Its version may point at a run or a logged model, which points at the files. Each is asked for where the entry
        that answers for it says.
        """
        halfway = asyncio.get_running_loop().time() + self._deadline / 2
        registered = await _BY_NAME[ref.scheme](self._fetcher, access, ref.canonical)
        found = Found(version=registered.version or None, revision=registered.run or None, partial=True)
        source = parse(registered.source, _WRITTEN.get(ref.scheme, Grammar.GENERIC))
        storage = access_for(source)
        for _ in range(_HOPS):
            if source.scheme not in _BY_NAME or source.canonical.startswith(_PROXIED):
                break
            if storage is None or storage.refused is not None:
                return found
            registered = await _BY_NAME[source.scheme](self._fetcher, storage, source.canonical)
            found = replace(found, revision=found.revision or registered.run or None)
            source = parse(registered.source, _WRITTEN.get(source.scheme, Grammar.GENERIC))
            storage = access_for(source)
        if storage is None or storage.refused is not None:
            return found
        if source.canonical.startswith(_PROXIED):
            size = await self._proxied(source, storage, halfway)
            return replace(found, size=size, partial=size is None)
        if source.scheme not in _DIRECT:
            return found
        files = await _DIRECT[source.scheme](self._fetcher, storage, source.canonical)
        return replace(found, digest=files.digest, size=files.size, partial=False)

    async def _proxied(self, source: Ref, access: Access, until: float) -> Size | None:
        """The size of files that MLflow gives out itself; None if it does not tell, as one that gives out none.

        Nor if it has not told by then, in seconds of the loop's clock: the version is known without.
        """
        try:
            async with asyncio.timeout_at(until):
                return (await mlflow.artifacts(self._fetcher, access, source.canonical)).size
        except TimeoutError:
            return None
        except RegistryError as error:
            if error.missing.reason == "not-found":
                raise
        return None

    async def _tracked(self, ref: Ref, access: Access, access_for: AccessFor) -> Found:
        """Whether the remote has the file, under one of the names that versions of DVC give it."""
        missing: RegistryError | None = None
        for place in dvc.places(access.remote, ref):
            try:
                await self._stored(place, access_for)
            except RegistryError as error:
                if error.missing.reason != "not-found":
                    raise
                missing = error
            else:
                return Found()
        told = "the remote has no file of that hash" if missing else "the hash is not one of a file in a remote"
        raise RegistryError("not-found" if missing else "unsupported", told)

    async def _stored(self, place: str, access_for: AccessFor) -> Found:
        """What a store has at a place, if another entry of the policy answers for it. Raises RegistryError."""
        store = parse(place)
        storage = access_for(store)
        if storage is None or store.scheme not in _DIRECT:
            raise RegistryError("unsupported", f"no entry of the policy answers for the store of {store.canonical}")
        if storage.refused is not None:
            raise RegistryError(storage.refused.reason, storage.refused.message)
        return await _DIRECT[store.scheme](self._fetcher, storage, store.canonical)

    async def _read(self, place: str, access_for: AccessFor) -> bytes | None:
        """The content of a small file in a store; None if it is not there or cannot be read. Raises RegistryError."""
        store = parse(place)
        storage = access_for(store)
        if storage is None or storage.refused is not None or store.scheme not in _CONTENT:
            return None
        try:
            return await _CONTENT[store.scheme](self._fetcher, storage, store.canonical)
        except RegistryError as error:
            if error.missing.reason != "not-found":
                raise
        return None

    async def _table(self, ref: Ref, access: Access, access_for: AccessFor) -> Found:
        """A table that a server shares, or one in a store for which another entry answers."""
        named = delta.table(ref.canonical)
        if access.endpoint and not named.store:
            return await delta.shared(self._fetcher, access, named)
        log = delta.folder(named, access.remote)

        async def has(name: str) -> bool:
            try:
                await self._stored(f"{log}/{name}", access_for)
            except RegistryError as error:
                if error.missing.reason != "not-found":
                    raise
                return False
            return True

        async def read(name: str) -> bytes | None:
            try:
                return await self._read(f"{log}/{name}", access_for)
            except RegistryError as error:
                if error.missing.reason != "refused":  # as too large is: none of these files is needed
                    raise
                return None

        return await delta.stored(delta.Log(has, read, parse(log).scheme in _CONTENT), named.version)

    async def _listing(self, ref: Ref, access: Access, access_for: AccessFor) -> Mapping[str, str] | None:
        for place in dvc.places(access.remote, ref):
            content = await self._read(place, access_for)
            if content is not None:
                return await asyncio.to_thread(dvc.listing, ref, content)
        return None
