"""The page of supported forms is what the code supports."""

from __future__ import annotations

from pathlib import Path

from agent.core.models.extract.servers import SERVERS
from agent.core.models.forms import SPELLINGS, page
from agent.core.models.grammar import SCHEMES

PAGE = Path(__file__).parents[3] / "docs" / "model-references.md"
REMEDY = 'python -c "from agent.core.models.forms import page; print(page(), end=str())" > docs/model-references.md'


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), f"write it again: {REMEDY}"


def test_every_scheme_has_an_example() -> None:
    shown = {spelling.partition("://")[0].partition(":/")[0].partition("+")[0] for _, spelling in SPELLINGS}
    aliases = {"docker", "s3a", "s3n", "minio", "r2", "gcs", "abfs", "wasb", "wasbs", "azure", "http", "webhdfs",
               "file", "hostpath", "dbfs", "dvc", "mlflow-artifacts", "wandb"}  # fmt: skip
    assert SCHEMES.keys() <= shown | aliases


def test_every_server_is_listed() -> None:
    written = page()
    assert all(f"| {server.name} |" in written for server in SERVERS)
