"""One thread that has the detectors to itself, and answers in the order of arrival."""

import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

import torch

from ..utils.progress import listening
from .refusals import RefusedError

logger = logging.getLogger(__name__)
STOPPED = "the server is being stopped"
# What is told of a job: "queued" and how many are before it, "progress" and (done, total), at last "result" or "error".
Tell = Callable[[str, Any], None]


class AbandonedError(BaseException):
    """Ends work that nobody waits for any more; no part of the work may catch it as an error of its own."""


class Job:
    """Work that waits, or is being done.

    Args:
        work: gives the result.
        tell: hears what becomes of it, in whatever thread.
    """

    def __init__(self, work: Callable[[], Any], tell: Tell):
        self.work, self.tell = work, tell
        self.is_abandoned = False
        self._place: int | None = None

    def tell_place(self, place: int) -> None:
        """Tells how many jobs are before it, where that has changed."""
        if place != self._place:
            self._place = place
            self.tell("queued", place)

    def end(self, kind: str, value: Any) -> None:
        """Tells the last of it, where somebody waits."""
        if not self.is_abandoned:
            self.tell(kind, value)

    def progress(self, done: int | None, total: int | None) -> None:
        """Hears how far the work is; ends it where nobody waits."""
        if self.is_abandoned:
            raise AbandonedError
        if done is not None:
            self.tell("progress", (done, total))


class ModelQueue:
    """Does one job after the other in a thread of its own.

    Args:
        most: how many jobs may wait.
    """

    def __init__(self, most: int):
        self.most = most
        self._waiting: deque[Job] = deque()
        self._now: Job | None = None
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Any], tell: Tell) -> Job:
        """Puts work at the end of the queue.

        Raises:
            RefusedError: with 503 if too much is waiting, or the server ends.
        """
        job = Job(work, tell)
        with self._changed:
            if self._is_closed:
                raise RefusedError(503, STOPPED)
            if len(self._waiting) >= self.most:
                raise RefusedError(503, f"{self.most} requests are waiting for the detector already: ask again later")
            self._waiting.append(job)
            job.tell_place(len(self._waiting) - 1 + (self._now is not None))
            self._changed.notify()
        return job

    def abandon(self, job: Job) -> None:
        """Says that nobody waits for a job: it leaves the queue, or ends as soon as it hears of it."""
        with self._changed:
            job.is_abandoned = True
            if job in self._waiting:
                self._waiting.remove(job)
                self._tell_places()

    def stop(self) -> None:
        """Takes no more work, and tells all who wait so at once; what is being done ends as soon as it hears of it."""
        with self._changed:
            self._is_closed = True
            for job in (*self._waiting, *([self._now] if self._now else [])):
                if not job.is_abandoned:
                    job.is_abandoned = True
                    job.tell("error", STOPPED)
            self._waiting.clear()
            self._changed.notify()

    def close(self, timeout: float = 0.5) -> bool:
        """Stops, and waits a moment for the end of the work.

        Args:
            timeout: seconds.

        Returns:
            Whether the work has ended.
        """
        self.stop()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def length(self) -> int:
        """How many jobs wait or are being done."""
        with self._changed:
            return len(self._waiting) + (self._now is not None)

    def _tell_places(self) -> None:
        for place, job in enumerate(self._waiting):
            job.tell_place(place + (self._now is not None))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._now = None
                self._tell_places()
                while not self._waiting and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    return
                self._now = job = self._waiting.popleft()
            self._do(job)
            del job  # or its images and maps live until the next one comes

    def _do(self, job: Job) -> None:
        try:
            with listening(job.progress):
                result = job.work()
        except AbandonedError:
            return
        except RefusedError as error:
            job.end("error", str(error))
        except (ValueError, FloatingPointError) as error:
            job.end("error", _one_sentence(error))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            job.end("error", "the GPU's memory is not enough for this image: take a smaller one, or --device cpu")
        except Exception as error:
            # As text: a record that somebody keeps would keep the frames, and all tensors in them.
            logger.error("a request failed\n%s", traceback.format_exc())
            job.end("error", f"it can't be answered, since the detector failed: {_one_sentence(error)}")
        else:
            job.end("result", result)


def _one_sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:1000] or type(error).__name__
