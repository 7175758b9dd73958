"""The set-up of the test bed.

``python -m testbed build [names]`` builds its programs into the cache; ``python -m testbed check`` exits with 1 when
one is missing.
"""

import argparse
import sys
import time

from testbed.binaries import CRD_SOURCES, PROGRAMS, BuildError, crd_files, ensure, missing
from testbed.pythonprograms import NAME, programs_missing, programs_python
from testbed.toolchain import ToolchainError


class _Reporter:
    """Prints progress as whole lines, at most one every `every` seconds unless the line opens a new subject."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._subject = ""
        self._last = 0.0

    def __call__(self, text: str) -> None:
        subject, _, detail = text.partition(":")
        now = time.monotonic()
        counting = detail.startswith(" compiled")
        if counting and subject == self._subject and now - self._last < self._every:
            return
        self._subject, self._last = subject, now
        print(text, flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m testbed", description="Set up the test bed.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build programs into the cache; all of them without a name")
    build.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join((*PROGRAMS, 'crds', NAME))}")
    build.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="between two lines of progress")
    commands.add_parser("check", help="exit with 1 when something is not in the cache")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "check":
            return 1 if missing() or programs_missing() else 0
        return _build(chosen.names or [*PROGRAMS, "crds", NAME], _Reporter(chosen.every))
    except (BuildError, ToolchainError, ValueError) as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what is compiled so far is kept", file=sys.stderr)
        return 130


def _build(names: list[str], report: _Reporter) -> int:
    ensure(*(name for name in names if name not in {"crds", NAME}), progress=report)
    if "crds" in names:
        for source in CRD_SOURCES:
            crd_files(source, progress=report)
    if NAME in names:
        programs_python(report)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
