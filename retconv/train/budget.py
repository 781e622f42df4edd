"""When to stop: at a time, at a signal, or when whoever shared the work out says so."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import ClassVar

#: Seconds to load data, build a model and take the first step, before this process has measured them.
_SETUP = 5.0
#: What compiling a step, or an evaluation, adds to them.
_COMPILING = 60.0
#: To leave the loop and end the process.
_LEAVING = 1.0
#: Of what was measured, how much is reckoned with.
_MARGIN = 1.5


@dataclass
class Budget:
    """How long to train; without arguments, to the end.

    It can be pickled: the time is absolute, so that processes share it.

    Args:
        until: A time as ``time.time()`` tells it.
        stop_file: Once a file stands there, the time is up.

    Attributes:
        told: Whether a signal said to stop.

    Example:
        >>> import time
        >>> retconv.train.Budget(until=time.time() + 600).until > time.time()  # ten minutes
        True
    """

    until: float = math.inf
    stop_file: Path | None = None
    told: bool = field(default=False, init=False)

    def left(self) -> float:
        """Seconds left; 0 or less if the time is up or it was told to stop."""
        if self.told or (self.stop_file is not None and self.stop_file.exists()):
            return 0.0
        return self.until - time.time()

    @contextmanager
    def heeding_signals(self, pass_on: bool = False) -> Iterator[None]:
        """Inside, SIGTERM and Ctrl-C mean that the time is up; a second one has its usual effect.

        Signals reach the main thread of a process only, elsewhere nothing changes; and a handler that somebody else
        has set stays.

        Args:
            pass_on: Tell the processes that share the budget, by its ``stop_file``, which is removed at the end.
        """
        numbers = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
        before = {number: signal.getsignal(number) for number in numbers}
        before = {n: own for n, own in before.items() if own in (signal.SIG_DFL, signal.default_int_handler)}
        file = self.stop_file if pass_on else None

        def stop(number: int, frame: FrameType | None) -> None:
            self.told = True
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
            restore()

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        for number in before:
            signal.signal(number, stop)
        try:
            yield
        finally:
            restore()
            if file is not None:
                file.unlink(missing_ok=True)


class Pace:
    """How long the parts of a session take, as far as they have been measured, with a margin.

    Args:
        compiles: Whether the step is compiled.
        batch: Images of a step.
        size: Bytes of the runs' parameters.
    """

    #: Seconds from the start of the last session of this process to its first step's end.
    setup: ClassVar[float | None] = None

    def __init__(self, compiles: bool, batch: int, size: int) -> None:
        self.compiling = _COMPILING * compiles
        self.batch = batch
        self.step = 0.0
        self.evaluated: float | None = None  # by image
        # Weights, their average, the best, and two moments, at a slow disk's 100 MB/s.
        self.saving = 0.5 + 5 * size / 1e8

    @classmethod
    def starting(cls, compiles: bool) -> float:
        """Seconds until a session that starts now could save its first step."""
        return _MARGIN * cls.setup if cls.setup is not None else _SETUP + _COMPILING * compiles

    def evaluating(self, images: int) -> float:
        """Seconds to evaluate on some images: before any were, as long as training on them."""
        if not images:
            return 0.0
        if self.evaluated is None:
            return images * self.step / self.batch + self.compiling
        return _MARGIN * images * self.evaluated

    def ending(self, steps: int, images: int) -> float:
        """Seconds to take some steps, evaluate on some images, and save."""
        return _MARGIN * (steps * self.step + self.saving) + self.evaluating(images) + _LEAVING


def process_start() -> float:
    """When this process started, as ``time.time()`` tells it; now, where the system does not say."""
    now = time.time()
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return now
    # No interpreter takes minutes to start: a sandbox that counts from elsewhere is not believed.
    return now - age if 0 <= age <= 120 else now
