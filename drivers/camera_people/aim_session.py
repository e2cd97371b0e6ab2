"""One aiming view from its opening to its end: told to the audit before any picture, and once more when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivers.camera_people.aim import AimingView, End
from drivers.camera_people.aim_page import AimingPage
from drivers.camera_people.assignment import pack
from drivers.camera_people.measures import words
from drivers.camera_people.options import assignment_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drivers.camera_people.options import Options
    from drivers.links.camera import CameraLink

    Audit = Callable[[Mapping[str, object]], None]
    """Writes one event; what it raises keeps the view shut."""

CLOSING_S = 1.0
"""The page is told why the view is closed for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who looks at which camera, why, and for how long."""

    camera: str
    room: str
    who: str
    why: str
    seconds: float
    port: int = 0
    """On loopback; 0: a free one."""
    filled: bool = False
    """People who come into the empty room become rectangles; else they end the view."""


async def aim(
    request: Request, link: CameraLink, options: Options, *, announce: Callable[[str], None], audit: Audit
) -> End:
    """Serve one view, whose address goes to `announce`; return why it ended.

    Raises DeviceUnavailable if its worker fails, OSError for a taken port, AuthError for a password that is not there.
    """
    view = AimingView(pack(assignment_of(options, link)), seconds=request.seconds, filled=request.filled)
    page = AimingPage(view)
    await page.start(request.port)
    began = time.time_ns()
    about = {"camera": request.camera, "room": request.room, "who": request.who, "why": request.why}
    end = End.FAILED
    try:
        audit({"event": "camera.aim.opened", "at_ns": began, **about, "seconds": request.seconds})
        announce(page.url)
        end = await _until_stopped(view)
        await asyncio.sleep(CLOSING_S)
    finally:
        await page.close()
        over = {"at_ns": time.time_ns(), "reason": str(end), "pictures": view.shown, "held_by": words(view.granted)}
        audit({"event": "camera.aim.closed", **about, **over})
    return end


async def _until_stopped(view: AimingView) -> End:
    """Run the view until it ends, or somebody presses Ctrl-C."""
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(view.run(), name="aiming view")
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    try:
        await asyncio.wait([running])
    except asyncio.CancelledError:
        running.cancel()
        await asyncio.wait([running])
        raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    with contextlib.suppress(asyncio.CancelledError):
        return running.result()
    return End.STOPPED
