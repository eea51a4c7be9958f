"""An event loop whose time is virtual, and processes on it that can be frozen and killed.

Nothing waits: when no callback is ready, the clock jumps to the next timer. Callbacks run in the order in which they
became ready, as on asyncio's own loop; what makes one world differ from another are the random delays at every border
(database, HTTP, MQTT). A callback belongs to the process in whose context it was made. The callbacks of a frozen
process wait; a killed one is cancelled and finds every border closed, so that its last words have no effect.
"""

import asyncio
import contextvars
import heapq
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any

STEPS_MAX = 3_000_000
"""A world that needs more callbacks than this hangs at one moment of its time."""


class KilledError(BaseException):
    """The process is no more. Not an ``Exception``: no boundary of the product may take it for a failure."""


class Process:
    """What would be one operating-system process: a set of tasks that live and die together."""

    def __init__(self, name: str, loop: "VirtualLoop") -> None:
        self.name = name
        self.loop = loop
        self.is_alive = True
        self.is_frozen = False
        self.failure: BaseException | None = None
        """What ended it, when nobody killed it."""
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._waiting: deque[asyncio.Handle] = deque()
        self._context = contextvars.copy_context()
        self._context.run(PROCESS.set, self)

    def start(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the program of this process; with its end, the process ends."""
        self.loop.create_task(self._contain(run, is_program=True), context=self._context)

    def ask(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let the process do something more, on behalf of somebody outside."""
        self.loop.create_task(self._contain(run, is_program=False), context=self._context)

    async def _contain(self, run: Callable[[], Coroutine[Any, Any, None]], *, is_program: bool) -> None:
        try:
            await run()
        except (KilledError, asyncio.CancelledError):
            pass
        except BaseException as error:  # noqa: BLE001 - whatever ends a process is its failure
            if self.is_alive:
                self.failure = error
                self.is_alive = False
        if is_program:
            self.is_alive = False

    def kill(self) -> None:
        """As ``kill -9``: from now on nothing of it has an effect."""
        self.is_alive = False
        self.thaw()
        for task in list(self.tasks):
            task.cancel()

    def freeze(self) -> None:
        """As ``SIGSTOP``."""
        self.is_frozen = True

    def thaw(self) -> None:
        self.is_frozen = False
        self.loop.ready.extend(self._waiting)
        self._waiting.clear()

    def hold_back(self, handle: asyncio.Handle) -> None:
        self._waiting.append(handle)

    def check(self) -> None:
        """Raise KilledError in a process that is no more."""
        if not self.is_alive:
            raise KilledError


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


def current_process() -> Process:
    process = PROCESS.get()
    assert process is not None
    return process


class VirtualLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as code without sockets and threads needs."""

    def __init__(self) -> None:
        self.ready: deque[asyncio.Handle] = deque()
        self.steps = 0
        self.complaints: list[str] = []
        """What tasks nobody waited for have failed with."""
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self._outside = contextvars.copy_context()
        self._outside.run(PROCESS.set, None)

    def run_until(self, awaitable: Awaitable[None]) -> None:
        """Run everything until ``awaitable`` is done; leave what else there is where it stands."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(awaitable, context=self._outside)
            self._turn(task)
            task.result()
        finally:
            asyncio._set_running_loop(None)

    def _turn(self, task: asyncio.Task[None]) -> None:
        ready, timers, process_of = self.ready, self._timers, PROCESS
        while not task.done():
            self.steps += 1
            assert self.steps < STEPS_MAX, f"stuck at {self._now:.3f} s"
            while not ready:
                assert timers, "everybody waits for ever"
                when, _, timer = heapq.heappop(timers)
                if not timer._cancelled:
                    self._now = max(self._now, when)
                    ready.append(timer)
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(process_of)
            if process is not None and process.is_frozen:
                process.hold_back(handle)
            else:
                handle._run()

    # What asyncio asks of a loop

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def outside(self, delay: float, callback: Callable[..., None], *args: Any) -> None:
        """Let something happen in the world, whoever is frozen or dead by then."""
        self.call_later(delay, callback, *args, context=self._outside)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        process = (context or contextvars.copy_context()).get(PROCESS)
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(process.tasks.pop)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing to do: a cancelled timer is skipped when its time comes."""
