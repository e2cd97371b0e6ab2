"""The worker's life: give up what it does not need, learn what to do, and answer until the agent hangs up."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from typing import TYPE_CHECKING, Final, NoReturn

from drivers.camera_people import exits
from drivers.camera_people.assignment import LENGTH, MAX_BYTES, Assignment, unpack
from drivers.camera_people.model_files import MODELS, WrongModel, read_model
from drivers.camera_people.record import REQUEST, encode
from drivers.camera_people.worker.damage import DamageLog
from drivers.camera_people.worker.isolation import isolate, tell_libraries

if TYPE_CHECKING:
    from drivers.camera_people.worker.source import Source

STUCK_FACTOR: Final = 2
STUCK_S: Final = 1.0
"""A call that takes so many stall times and so long has hung: only a new process is sure to be rid of it."""


def work(descriptor: int) -> NoReturn:
    """Serve the agent at the other end of `descriptor`; ends the process."""
    isolate()
    damage = DamageLog()
    # A fault's text could quote what was in the picture: the exit code is all that is said.
    sys.excepthook = lambda *_: os._exit(exits.FAULT)
    threading.excepthook = lambda _: os._exit(exits.FAULT)
    with socket.socket(fileno=descriptor) as channel:
        if not _hung_up(channel):
            serve(channel, damage)
    # Not sys.exit: the reader's thread may hang in a library, and there is nothing to tidy up.
    os._exit(0)


def _hung_up(channel: socket.socket) -> bool:
    """Whether the agent died before this process could ask to die with it."""
    poller = select.poll()
    poller.register(channel, 0)
    return bool(poller.poll(0))  # POLLHUP and POLLERR are told unasked


def serve(channel: socket.socket, damage: DamageLog) -> None:
    """Answer requests until the other end closes."""
    assignment = _assignment(channel)
    if assignment is None:
        return
    tell_libraries(stalled_s=assignment.stalled_s)
    try:
        model = read_model(MODELS[assignment.model])
        # Only now: they read what was set for them when they are imported.
        from drivers.camera_people.worker.detector import CenterFace  # noqa: PLC0415
        from drivers.camera_people.worker.look import Looker  # noqa: PLC0415
        from drivers.camera_people.worker.reader import Reader  # noqa: PLC0415
    except WrongModel:
        os._exit(exits.MODEL)
    except ImportError:
        os._exit(exits.LIBRARY)
    reader = Reader(_source(assignment, damage), stalled_s=assignment.stalled_s)
    threading.Thread(target=reader.run, name="reader", daemon=True).start()
    detector = CenterFace(model, input_width=assignment.input_width, threshold=assignment.threshold)
    looker = Looker(reader, detector, damage, dark_below=assignment.dark_below)
    while request := _exactly(channel, REQUEST.size):
        (wait_ms,) = REQUEST.unpack(request)
        if reader.stuck_s() > STUCK_FACTOR * assignment.stalled_s + STUCK_S:
            os._exit(exits.STUCK)
        channel.sendall(encode(looker.answer(wait_ms / 1000)))


def _source(assignment: Assignment, damage: DamageLog) -> Source:
    if assignment.capture == "rtsp":
        from drivers.camera_people.worker.rtsp import RtspSource  # noqa: PLC0415 - imports cv2

        return RtspSource(assignment, damage)
    from drivers.camera_people.worker.mjpeg import MjpegSource  # noqa: PLC0415 - one of the three is used
    from drivers.camera_people.worker.snapshot import SnapshotSource  # noqa: PLC0415

    return (MjpegSource if assignment.capture == "mjpeg" else SnapshotSource)(assignment)


def _assignment(channel: socket.socket) -> Assignment | None:
    head = _exactly(channel, LENGTH.size)
    if not head:
        return None
    (length,) = LENGTH.unpack(head)
    if length > MAX_BYTES:
        os._exit(exits.FAULT)
    text = _exactly(channel, length)
    return unpack(text) if text else None


def _exactly(channel: socket.socket, size: int) -> bytes:
    """Return `size` bytes; nothing once the other end has closed."""
    data = b""
    while len(data) < size:
        piece = channel.recv(size - len(data))
        if not piece:
            return b""
        data += piece
    return data
