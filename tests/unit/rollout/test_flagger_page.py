"""The page about the engine names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_what_proves_it_is_there() -> None:
    section = (ROOT / "docs/canary-engine.md").read_text().partition("## What proves it")[2].partition("\n## ")[0]
    named = re.findall(r"`((?:tests/\w+/)*test_\w+\.py)`", section)
    assert len(named) > 40
    paths = [name if name.startswith("tests/") else f"tests/unit/rollout/{name}" for name in named]
    assert [path for path in paths if not (ROOT / path).is_file()] == []
