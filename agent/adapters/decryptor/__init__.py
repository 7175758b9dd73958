"""Decrypts what SOPS has encrypted, in a process of its own for each build."""

from agent.adapters.decryptor.decryptor import Decryptor, Identity, Keys, Session, VaultLogin
from agent.adapters.decryptor.environment import ambient

__all__ = ["Decryptor", "Identity", "Keys", "Session", "VaultLogin", "ambient"]
