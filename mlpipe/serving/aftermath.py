"""What a worker does with answers once nobody waits for them: metrics, the request log, the shadow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlpipe.serving.metrics import WorkerMetrics
from mlpipe.serving.recorder import Recorder
from mlpipe.serving.shadow import Shadow

if TYPE_CHECKING:
    from mlpipe.serving.engine import Served, Worked
    from mlpipe.serving.settings import Settings, Slot


class Aftermath:
    """Follows a worker's answers.

    Args:
        settings: How the versions are served.
    """

    def __init__(self, settings: Settings) -> None:
        self.metrics = WorkerMetrics()
        self.recorder = None if settings.recording is None else Recorder(settings.recording)
        self.shadow = None if settings.traffic.shadow is None else Shadow(settings.batch)
        self._hidden: Served | None = None
        self._shadow_slot = settings.traffic.shadow

    def serve(self, served: Sequence[Served], slots: Sequence[Slot]) -> None:
        """These versions answer from now on."""
        self.metrics.serve(served, [slot.label for slot in slots])
        self._hidden = None if self._shadow_slot is None else served[self._shadow_slot]

    @property
    def pending(self) -> bool:
        """Whether there is something to do in an idle moment."""
        return self.shadow is not None and self.shadow.pending

    def take(self, worked: Worked) -> None:
        """Follow a batch that was answered."""
        self.metrics.count(worked)
        if self.recorder is not None:
            self.recorder.take(worked.exchanges)
        if self.shadow is not None and self._hidden is not None:
            hidden = self._hidden.version
            visible = [exchange for exchange in worked.exchanges if exchange.served is not self._hidden]
            self.metrics.drop_shadow(hidden, self.shadow.take(visible))
        self._tell()

    def idle(self) -> None:
        """Use a moment in which there are no questions."""
        if self.shadow is not None and self._hidden is not None and self.shadow.pending:
            compared = self.shadow.step(self._hidden)
            self.metrics.count_shadow(compared)
            if self.recorder is not None:
                self.recorder.take(compared.worked.exchanges, shadow=True)
        else:
            self.metrics.flush()
        if self.recorder is not None:
            self.recorder.look()
        self._tell()

    def close(self) -> None:
        """The process ends: write what is kept."""
        if self.recorder is not None:
            self.recorder.close()
        self._tell()

    def _tell(self) -> None:
        if self.recorder is not None and (self.recorder.written or self.recorder.lost):
            self.metrics.count_log(self.recorder.written, self.recorder.lost)
            self.recorder.written = self.recorder.lost = 0
