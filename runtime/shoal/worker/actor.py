"""The actor that a worker process has become: its instance and how its calls run.

Invariant: with ``max_concurrency`` 1 calls run in the main thread, one after another; otherwise in a pool of that many
threads, or on one event loop when the class has ``async def`` methods (Ray's rules).
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from shoal.worker import context

if TYPE_CHECKING:
    import asyncio

    from shoal.worker.execution import Executor, Outcome, Task

ASYNC_CONCURRENCY: Final = 1000
CLOSE_SECONDS: Final = 5.0


class ActorExitError(BaseException):
    """Raised by ``exit_actor()``; a BaseException, so that user code does not catch it by accident."""


class ActorHost:
    """The instance and its threads."""

    def __init__(self, actor_id: str, instance: Any, options: dict[str, Any]) -> None:
        self.actor_id = actor_id
        self.instance = instance
        self.exiting = False
        self.placement_group: tuple[str, bool] | None = options.get("placement_group")
        methods = inspect.getmembers(type(instance), inspect.isfunction)
        self._is_async = any(inspect.iscoroutinefunction(function) for _name, function in methods)
        limit = options.get("max_concurrency") or (ASYNC_CONCURRENCY if self._is_async else 1)
        self.concurrent = self._is_async or limit > 1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._semaphore: asyncio.Semaphore | None = None
        self._threads: ThreadPoolExecutor | None = None
        if self._is_async:
            self._start_loop(limit)
        elif limit > 1:
            self._threads = ThreadPoolExecutor(limit, thread_name_prefix="shoal-actor")
        # Arguments may have to be fetched, which waits: never on the loop, never in the reactor's leading thread.
        self._fetchers = ThreadPoolExecutor(4, thread_name_prefix="shoal-fetch") if self._is_async else None

    def _start_loop(self, limit: int) -> None:
        import asyncio  # only async actors pay for it

        ready = threading.Event()

        def run() -> None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
            self._semaphore = asyncio.Semaphore(limit)
            ready.set()
            try:
                self._loop.run_forever()
            finally:
                self._loop.close()

        threading.Thread(target=run, name="shoal-actor-loop", daemon=True).start()
        ready.wait()

    def method(self, name: str) -> Callable[..., Any]:
        """The bound method that a call names (``Class.method``)."""
        bare = name.rpartition(".")[2]
        if bare == "__ray_ready__":
            return lambda: True
        if bare == "__ray_call__":
            return lambda function, *args, **kwargs: function(self.instance, *args, **kwargs)
        if bare == "__ray_terminate__":
            return exit_actor
        found: Callable[..., Any] = getattr(self.instance, bare)
        return found

    def note_exit(self, error: BaseException) -> None:
        """Remember that the actor asked to end."""
        if isinstance(error, (ActorExitError, SystemExit)):
            self.exiting = True

    def start(self, task: Task, executor: Executor, answer: Callable[[Task, Outcome], None]) -> None:
        """Run a call beside others."""
        if self._threads is not None:
            self._threads.submit(lambda: answer(task, executor.run(task, self)))
            return
        import asyncio

        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._run_async(task, executor, answer), self._loop)

    async def _run_async(self, task: Task, executor: Executor, answer: Callable[[Task, Outcome], None]) -> None:
        assert self._loop is not None
        assert self._semaphore is not None
        async with self._semaphore:
            started = time.perf_counter()
            try:
                if task.dependencies:
                    args, kwargs = await self._loop.run_in_executor(
                        self._fetchers, executor.arguments, task.args, task.dependencies
                    )
                else:
                    args, kwargs = executor.arguments(task.args, ())
                with context.running(task.task_id, task.name, task.actor_id, self.placement_group):
                    value = self.method(task.name)(*args, **kwargs)
                    if inspect.isawaitable(value):
                        value = await value
                outcome = executor.succeeded(task, value, time.perf_counter() - started)
            except BaseException as error:  # noqa: BLE001  # whatever user code raises is its result
                self.note_exit(error)
                outcome = executor.failed(task, error, time.perf_counter() - started)
        answer(task, outcome)

    def close(self) -> None:
        """End the threads; running calls get a moment."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        if self._fetchers is not None:
            self._fetchers.shutdown(wait=False, cancel_futures=True)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)


def exit_actor() -> None:
    """End the actor that this runs in; it is not restarted.

    Raises:
        TypeError: called outside of an actor.
    """
    if not context.current().actor_id:
        raise TypeError("exit_actor API is called on a non-actor worker")
    raise ActorExitError
