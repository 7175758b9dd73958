"""From the references that policies name to the rules by which objects, containers and files are read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from agent.api.changepolicy import ChangePolicy, References
from agent.core.models import ContainerRule, FileRule, Grammar, ObjectRule, Rules
from agent.core.models.record import Kind
from agent.core.models.rules import steps


def rules_of(policies: Iterable[ChangePolicy]) -> Rules:
    """The rules of all policies, those of the first one first. To be asked after `fault`."""
    named = [policy.spec.references for policy in policies]
    return Rules(
        tuple(
            ObjectRule(one.group, one.kind, one.path, one.slot, _role(one.role), Grammar(one.grammar), one.revision)
            for references in named
            for one in references.objects
        ),
        tuple(
            ContainerRule(one.container, one.slot, one.flag, one.env, _role(one.role), Grammar(one.grammar))
            for references in named
            for one in references.containers
        ),
        tuple(FileRule(one.path, _role(one.role)) for references in named for one in references.files),
    )


def fault(references: References) -> str:
    """What cannot be followed, with its field below `references`; empty if nothing."""
    for position, one in enumerate(references.objects):
        try:
            steps(one.path)
        except ValueError as error:
            return f"objects[{position}].path: {error}"
    for field in ("objects", "containers", "files"):
        for position, found in enumerate(getattr(references, field)):
            where = f"{field}[{position}]"
            if found.role not in get_args(Kind):
                return f"{where}.role: {found.role!r} is none of {', '.join(get_args(Kind))}"
            grammar = getattr(found, "grammar", Grammar.GENERIC)
            if grammar not in set(Grammar):
                return f"{where}.grammar: {grammar!r} is none of {', '.join(Grammar)}"
    for position, argument in enumerate(references.containers):
        if not (argument.flag or argument.env):
            return f"containers[{position}]: flag or env has to be set"
    return ""


def _role(text: str) -> Kind:
    return next(kind for kind in get_args(Kind) if kind == text)
