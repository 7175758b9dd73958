"""Restart and image-pull delays: none, then the base, doubled each time up to a limit (the kubelet's rule)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackOff:
    """Delays in seconds; the kubelet has base 10 and limit 300, the test bed is quicker by default."""

    base: float = 1.0
    limit: float = 30.0

    def delay(self, failures: int) -> float:
        """The pause after the n-th failure in a row: the first retry is immediate."""
        if failures <= 1:
            return 0.0
        return float(min(self.limit, self.base * 2 ** min(failures - 2, 32)))

    @property
    def forgets_after(self) -> float:
        """A container that ran this long starts over (the kubelet: twice the limit)."""
        return 2 * self.limit
