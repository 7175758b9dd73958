"""Mount paths without mount namespaces: text that names a mountPath is rewritten to the volume's folder."""

import re
from collections.abc import Mapping
from pathlib import Path


class MountMap:
    """Rewrites every mountPath in a text to the local folder that plays the mount.

    A path counts where it stands as a whole path or as the start of one: ``/models``, ``/models/m.json``,
    ``--dir=/models``, ``file:///models/m.json`` and ``/a:/models``, but not ``/srv/models``, ``/models-old``
    or ``http://models/``. Longer mount paths win over shorter ones.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = {path.rstrip("/"): str(folder) for path, folder in folders.items() if path.rstrip("/")}
        longest_first = sorted(self._folders, key=len, reverse=True)
        alternatives = "|".join(re.escape(path) for path in longest_first)
        self._pattern = re.compile(rf"(?:(?<![\w./-])|(?<=://))(?:{alternatives})(?![\w.-])") if alternatives else None

    def rewrite(self, text: str) -> str:
        """The text with every mount path replaced by its folder."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._folders[match.group()], text)

    def with_file(self, path: str, local: Path) -> "MountMap":
        """The same, and one file more that stands somewhere else."""
        return MountMap({**{mount: Path(folder) for mount, folder in self._folders.items()}, path: local})

    def folder(self, mount_path: str) -> str | None:
        """The folder behind a mount path, None when nothing is mounted there."""
        return self._folders.get(mount_path.rstrip("/"))
