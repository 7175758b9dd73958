"""Sets up everything that the targets of the Makefile need, on a machine that has Python 3.11+, git and make.

Each stage leaves a stamp of the content it was made from and is skipped while that content stays the same, so that an
interrupted set-up goes on where it stopped. Only the standard library is used. The file must stay readable for older
versions of Python, which look for a newer one on PATH and hand over to it; hence the quoted annotations.
"""

# ruff: noqa: S603, INP001 - it runs programs of its own choosing, and is a script beside no package

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType

NEEDED = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMPS = VENV / ".weir-setup"
VENV_PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements-dev.lock"
ADAPTERS = ROOT / "agent" / "adapters"
PROGRAMS = ("renderer", "decryptor")


class SetupError(Exception):
    """A stage that failed; the text is what the person at the terminal should read."""


def main() -> int:
    """Run the stages that are not done yet; the exit status for the shell."""
    parser = argparse.ArgumentParser(description="Set up Weir's development environment.")
    parser.add_argument("--no-control-plane", action="store_true", help="leave out the programs that tests run against")
    chosen = parser.parse_args()
    if sys.version_info < NEEDED:
        return hand_over()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with open(__file__, "rb") as held:  # noqa: PTH123 - older versions get this far as well
            fcntl.flock(held, fcntl.LOCK_EX)
            run_stages(control_plane=not chosen.no_control_plane)
    except SetupError as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What is done is kept; run the same command again to go on.", file=sys.stderr)
        return 130
    return 0


def hand_over() -> int:
    """Replace this process by a Python that is new enough, or say what is needed."""
    for minor in range(14, NEEDED[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            sys.stdout.flush()
            os.execv(found, [found, *sys.argv])  # noqa: S606
    version = ".".join(str(part) for part in sys.version_info[:3])
    print(
        f"Weir needs Python 3.11 or newer; {sys.executable} is {version}, and PATH has no python3.11 to python3.14.\n"
        "Install one (such as the packages python3.11 and python3.11-venv) or name one: make PYTHON=/path/to/python3",
        file=sys.stderr,
    )
    return 1


def run_stages(*, control_plane: bool) -> None:
    """The stages in order; each one is silent when nothing is to be done."""
    count = 4 if control_plane else 3
    if not venv_works():
        with Stage(1, count, "Virtual environment", "5 s") as stage:
            make_venv(stage)
    STAMPS.mkdir(exist_ok=True)

    packages = digest([LOCK, VENV / "pyvenv.cfg"])
    if stamp("packages") != packages:
        with Stage(2, count, "Python packages", "1 min") as stage:
            install_packages(stage)
        set_stamp("packages", packages)

    sources = [path for path in sorted(ADAPTERS.glob("*/go/*")) if path.is_file()]
    project = digest([ROOT / "pyproject.toml", ROOT / "hatch_build.py", *sources], packages)
    if stamp("project") != project or not all((ADAPTERS / name / f"weir-{name}").exists() for name in PROGRAMS):
        with Stage(3, count, "Weir and its programs", "3 min") as stage:
            pip(stage, "--no-build-isolation", "--no-deps", "--editable", str(ROOT))
        set_stamp("project", project)

    # The programs live in a cache outside of this folder, so that only a look there tells whether they are built.
    if control_plane and subprocess.call([VENV_PYTHON, "-m", "testbed", "check"], cwd=ROOT) != 0:
        with Stage(4, count, "Control plane (etcd, Kubernetes, helm, Prometheus, sops, registries)", "12 min") as stage:
            stage.run([VENV_PYTHON, "-m", "testbed", "build", "--every", "1"], shortened)


def venv_works() -> bool:
    """Whether the virtual environment has an interpreter that runs and is new enough."""
    check = f"import sys, pip; sys.exit(sys.version_info < {NEEDED})"
    try:
        return subprocess.call([VENV_PYTHON, "-c", check], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def make_venv(stage: "Stage") -> None:
    """Create the virtual environment."""
    try:
        stage.run([sys.executable, "-m", "venv", "--clear", str(VENV)], shortened)
    except SetupError as failure:
        minor = ".".join(str(part) for part in sys.version_info[:2])
        raise SetupError(f"{failure}\nOn Debian and Ubuntu this needs the package python{minor}-venv.") from None


def install_packages(stage: "Stage") -> None:
    """Install what the lock file names, each file checked against its hash."""
    wanted = sum(1 for line in LOCK.read_text().splitlines() if "==" in line and not line.startswith((" ", "#")))
    seen: set[str] = set()

    def detail(line: str) -> str:
        if line.startswith(("Collecting ", "Requirement already satisfied: ")):
            seen.add(line)
        if line.startswith("Installing collected packages"):
            return "installing"
        return f"{min(len(seen), wanted)} of {wanted}"

    pip(stage, "--require-hashes", "--requirement", str(LOCK), detail=detail)


def pip(stage: "Stage", *arguments: str, detail: "Callable[[str], str] | None" = None) -> None:
    """Run ``pip install`` of the virtual environment."""
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    stage.run([VENV_PYTHON, "-m", "pip", "install", *options, *arguments], detail or shortened)


def shortened(line: str) -> str:
    """The line itself, short enough for a terminal."""
    return line[:90]


def stamp(name: str) -> str:
    """The stamp that stage `name` left; empty when there is none."""
    with contextlib.suppress(OSError):
        return (STAMPS / name).read_text()
    return ""


def set_stamp(name: str, value: str) -> None:
    """Note that stage `name` is done for the content `value`."""
    scratch = STAMPS / f"{name}.new"
    scratch.write_text(value)
    scratch.replace(STAMPS / name)


def digest(paths: "Iterable[Path]", *extra: str) -> str:
    """One hash over files and texts; a file that is missing counts as empty."""
    total = hashlib.sha256()
    for path in paths:
        content = path.read_bytes() if path.exists() else b""
        total.update(f"{path.name} {len(content)}\n".encode())
        total.update(content)
    for text in extra:
        total.update(text.encode())
    return total.hexdigest()


class Stage:
    """Shows one stage: what it is, how far it is, how long it has taken and usually takes."""

    def __init__(self, number: int, count: int, title: str, usual: str) -> None:
        self.head = f"[{number}/{count}] {title}"
        self.usual = usual
        self.detail = ""
        self.tty = sys.stdout.isatty()
        self.started = time.monotonic()
        self.finished = threading.Event()
        self.ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> "Stage":  # noqa: PYI034 - older versions have no Self
        print(f"{self.head} … usually {self.usual}", end="" if self.tty else "\n", flush=True)
        self.ticker.start()
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        trace: "TracebackType | None",
    ) -> None:
        self.finished.set()
        self.ticker.join()
        word = "done in" if kind is None else "stopped after"
        print(f"{self._clear()}{self.head} {word} {self._elapsed()}", flush=True)

    def run(self, command: "Sequence[str | Path]", detail: "Callable[[str], str]") -> None:
        """Run `command`; `detail` makes of each line of output what is shown. Raises SetupError with the last lines."""
        last: deque[str] = deque(maxlen=20)
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as running:
            assert running.stdout is not None
            try:
                for line in running.stdout:
                    last.append(line.rstrip())
                    self.detail = detail(line.strip())
            except KeyboardInterrupt:
                running.terminate()
                raise
        if running.returncode != 0:
            shown = " ".join(str(part) for part in command)
            raise SetupError("\n".join([*last, f"failed with {running.returncode}: {shown}"]))

    def _tick(self) -> None:
        every = 0.5 if self.tty else 20.0
        while not self.finished.wait(every):
            detail = f" · {self.detail}" if self.detail else ""
            line = f"{self.head}{detail} · {self._elapsed()} (usually {self.usual})"
            if self.tty:
                line = line[: shutil.get_terminal_size().columns - 1]
            print(f"{self._clear()}{line}", end="" if self.tty else "\n", flush=True)

    def _clear(self) -> str:
        return "\r\033[K" if self.tty else ""

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


if __name__ == "__main__":
    sys.exit(main())
