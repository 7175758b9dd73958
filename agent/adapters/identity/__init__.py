"""Who Weir is to GitHub and to the clouds: tokens for logging in to their Git servers."""

from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.githubapp import GitHubApp
from agent.adapters.identity.identities import Identities
from agent.adapters.identity.login import Login, ServiceAccount

__all__ = ["GitHubApp", "Identities", "IdentityError", "Login", "ServiceAccount"]
