"""Events stored a moment ago: a card that still lies on the reader when its link is opened again is no second event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.batch import Batch
    from telemetry.sample import Admitted

WINDOW_NS: Final = 30_000_000_000
PRUNE_ABOVE: Final = 1024


class RecentEvents:
    """The last event of each (device, handle), for as long as a resumed one may belong to it."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str | None], int] = {}

    def merges(self, admitted: Admitted) -> bool:
        """Whether a resumed event continues one that was stored at most 30 s before it."""
        if not admitted.resumed:
            return False
        last = self._last.get((admitted.device, admitted.handle))
        return last is not None and 0 <= admitted.acquired_at_ns - last <= WINDOW_NS

    def note(self, device: str, handle: str | None, acquired_at_ns: int) -> None:
        """Remember a stored event."""
        key = (device, handle)
        self._last[key] = max(acquired_at_ns, self._last.get(key, acquired_at_ns))
        if len(self._last) > PRUNE_ABOVE:
            since = max(self._last.values()) - WINDOW_NS
            self._last = {key: at for key, at in self._last.items() if at >= since}

    def forget(self, who: Callable[[str], bool]) -> None:
        """Forget the events of these people."""
        self._last = {key: at for key, at in self._last.items() if key[1] is None or not who(key[1])}

    def recover(self, batch: Batch) -> None:
        """Remember the events of a batch that was read back."""
        for block in batch.devices:
            for sample in block.samples:
                self.note(block.device, sample.subject, sample.acquired_at_ns)
