"""The folder that outlives a run: built programs, custom resource definitions, the registry of runs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_dir() -> Path:
    """``$WEIR_CACHE``, else ``$XDG_CACHE_HOME/weir``, else ``~/.cache/weir``; created when absent."""
    if own := os.environ.get("WEIR_CACHE"):
        chosen = Path(own)
    elif shared := os.environ.get("XDG_CACHE_HOME"):
        chosen = Path(shared) / "weir"
    else:
        chosen = Path.home() / ".cache" / "weir"
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen.absolute()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for the block; waits for another process that holds it. Released by a crash too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
