"""The GitRepository controller: credentials -> remote listing -> fetch -> artifact -> status -> published snapshot."""

from agent.controllers.gitrepository.access import GitAccess
from agent.controllers.gitrepository.parts import SourceParts
from agent.controllers.gitrepository.reconciler import GitRepositoryReconciler
from agent.controllers.gitrepository.upkeep import keep_tidy

__all__ = ["GitAccess", "GitRepositoryReconciler", "SourceParts", "keep_tidy"]
