"""Pull requests at Git servers: GitHub, GitLab, Gitea and Forgejo, each by its own API, all by one interface."""

from agent.adapters.forges.client import Forges
from agent.adapters.forges.dialects import ForgeError, Proposal, Where

__all__ = ["ForgeError", "Forges", "Proposal", "Where"]
