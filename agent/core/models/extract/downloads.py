"""Programs of init containers and jobs that fetch a model before a server starts."""

from __future__ import annotations

from typing import Final

from agent.core.models.extract.server import Server, Setting
from agent.core.models.spelled import Grammar

STORAGE_INITIALIZER: Final = Server(
    "KServe storage initializer",
    programs=(("initializer-entrypoint",),),
    images=("storage-initializer",),
    positional=True,
    grammar=Grammar.KSERVE,
)
HF_DOWNLOAD: Final = Server(
    "Hugging Face command line",
    programs=(("huggingface-cli", "download"), ("hf", "download")),
    positional=True,
    revision=("revision",),
    settings={"include": Setting("config"), "exclude": Setting("config")},
    lists=frozenset({"include", "exclude"}),
    switches=frozenset({"quiet", "force-download", "resume-download"}),
)
COPY: Final = Server(
    "object store copy",
    programs=(
        ("aws", "s3", "cp"),
        ("aws", "s3", "sync"),
        ("gsutil", "cp"),
        ("gsutil", "rsync"),
        ("gcloud", "storage", "cp"),
        ("gcloud", "storage", "rsync"),
        ("s5cmd", "cp"),
        ("s5cmd", "sync"),
        ("azcopy", "copy"),
        ("rclone", "copy"),
        ("rclone", "sync"),
    ),
    positional=True,
    grammar=Grammar.GENERIC,
    switches=frozenset({"recursive", "r", "d", "quiet", "no-progress", "only-show-errors", "delete", "P", "progress"}),
)
