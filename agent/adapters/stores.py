"""What the agent keeps on its disk, a cache that may be deleted at any moment: artifacts, repositories, history."""

from __future__ import annotations

from agent.adapters.artifacts import ArtifactFetcher, ArtifactStorage
from agent.adapters.git import GitMirrors, SSHAlgorithms
from agent.adapters.journal import Journal
from agent.settings import Settings

_CHANGES = 3000
"""Lines: 1000 records, and two for each commit that changed some."""


def stores(settings: Settings) -> tuple[ArtifactStorage, ArtifactFetcher, GitMirrors]:
    """Where artifacts are kept, how those of others come, and the copies of repositories."""
    storage = ArtifactStorage(
        settings.storage_path / "artifacts",
        settings.advertised(),
        retention_ttl=settings.artifact_retention_ttl,
        retention_records=settings.artifact_retention_records,
        algorithm=settings.artifact_digest_algo,
    )
    fetcher = ArtifactFetcher(
        source_controller=settings.source_controller_localhost, source_watcher=settings.source_watcher_localhost
    )
    ssh = SSHAlgorithms(key_exchange=settings.ssh_kex_algos, host_key=settings.ssh_hostkey_algos)
    return storage, fetcher, GitMirrors(settings.storage_path / "mirrors", ssh=ssh)


def journal_of_changes(settings: Settings) -> Journal:
    """Where change records outlive the process."""
    return Journal(settings.storage_path / "changes" / "history.jsonl", limit=_CHANGES)
