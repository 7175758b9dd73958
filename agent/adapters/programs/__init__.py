"""What the agent's Go programs have in common: how they are started, spoken to over pipes, and ended."""

from agent.adapters.programs.frames import encode, receive
from agent.adapters.programs.process import ProcessDiedError, Program

__all__ = ["ProcessDiedError", "Program", "encode", "receive"]
