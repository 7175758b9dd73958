"""Builds kustomizations and evaluates CEL in separate processes: no network, no credentials, bounded resources."""

from agent.adapters.renderer.errors import PathNotFoundError, RenderError, RendererUnavailableError
from agent.adapters.renderer.pool import Rendered, RendererPool
from agent.adapters.renderer.process import Decryption, Limits
from agent.adapters.renderer.protocol import BuildRequest, ExpressionMode, Format, Substitution
from agent.adapters.renderer.request import build_request, folder_of

__all__ = [
    "BuildRequest",
    "Decryption",
    "ExpressionMode",
    "Format",
    "Limits",
    "PathNotFoundError",
    "RenderError",
    "Rendered",
    "RendererPool",
    "RendererUnavailableError",
    "Substitution",
    "build_request",
    "folder_of",
]
