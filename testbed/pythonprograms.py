"""The programs in Python that tests run: a virtual environment of their own, in the cache.

They are pinned by hash in ``requirements-programs.lock``. Beside our own packages they would decide which versions of
those we can have.
"""

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from testbed.binaries import BuildError, Progress, content_key, last_lines, silent
from testbed.cache import cache_dir, exclusive

LOCK = Path(__file__).parent.parent / "requirements-programs.lock"
NAME = "python-programs"


def programs_python(progress: Progress = silent) -> Path:
    """The interpreter that has the programs as modules, set up first where needed. Blocks, for seconds when it does.

    Raises BuildError.
    """
    entry = _entry()
    if not entry.exists():
        with exclusive(cache_dir() / "locks" / f"{NAME}.lock"):
            if not entry.exists():
                progress(f"{NAME}: installing (usually 20 s)")
                _install(entry)
    return entry / "bin" / "python"


def programs_missing() -> bool:
    """Whether the environment is not there yet."""
    return not _entry().exists()


def _entry() -> Path:
    # An environment has links into the installation of Python that it was made with.
    key = content_key([LOCK], [sys.platform, platform.machine(), sys.version, sys.base_prefix])
    return cache_dir() / "venv" / f"{NAME}-{key}"


def _install(entry: Path) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".installing-") as scratch:
        # Modules are started with `python -m`, so that the environment may be moved.
        target = Path(scratch, "out")
        _run(sys.executable, "-m", "venv", target)
        # Mirrors and authorities that a machine has set up for pip are used, as when our own packages are installed.
        # The lock file is complete, and leaves out what has no wheel and is not needed, which pip would look for.
        options = ("--disable-pip-version-check", "--no-input", "--quiet", "--no-compile")
        pinned = ("--require-hashes", "--only-binary", ":all:", "--no-deps", "--requirement", LOCK)
        _run(target / "bin" / "python", "-m", "pip", "install", *options, *pinned)
        target.rename(entry)


def _run(python: str | Path, flag: str, module: str, *arguments: str | Path) -> None:
    done = subprocess.run([python, flag, module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        told = [*done.stdout.splitlines(), *done.stderr.splitlines()]
        raise BuildError(f"{module} for {NAME} failed:\n{last_lines(told)}")
