"""The environment of programs in Python is installed from where pip is told to look."""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from testbed.binaries import BuildError
from testbed.pythonprograms import programs_missing, programs_python


def test_the_mirror_of_a_machine_is_asked_and_half_an_environment_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    for name in os.environ:
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as mirror:
        thread = threading.Thread(target=mirror.serve_forever)
        thread.start()
        try:
            monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{mirror.server_port}/simple")
            with pytest.raises(BuildError, match=r"pip for python-programs failed:\n(?s:.)*aiohappyeyeballs"):
                programs_python()
        finally:
            mirror.shutdown()
            thread.join()
    assert asked
    assert programs_missing()
