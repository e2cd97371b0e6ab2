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
from drivers.camera_people.measures import Measure, encode_greeting
from drivers.camera_people.model_files import WrongModel
from drivers.camera_people.record import REQUEST, encode
from drivers.camera_people.worker.confinement import before_libraries, begin, confine
from drivers.camera_people.worker.damage import DamageLog
from drivers.camera_people.worker.libraries import tell_libraries
from drivers.camera_people.worker.sources import make_source
from telemetry.errors import DeviceUnavailable

if TYPE_CHECKING:
    from types import TracebackType

STUCK_FACTOR: Final = 2
STUCK_S: Final = 1.0
"""A call that takes so many stall times and so long has hung: only a new process is sure to be rid of it."""


def work(descriptor: int) -> NoReturn:
    """Serve the agent at the other end of `descriptor`; ends the process."""
    granted = begin()
    damage = DamageLog()
    # A fault's text could quote what was in the picture: the exit code is all that is said.
    sys.excepthook = _end
    threading.excepthook = lambda fault: _end(fault.exc_type, fault.exc_value, fault.exc_traceback)
    with socket.socket(fileno=descriptor) as channel:
        if not hung_up(channel):
            serve(channel, damage, granted)
    # Not sys.exit: the reader's thread may hang in a library, and there is nothing to tidy up.
    os._exit(0)


def _end(kind: type[BaseException], _error: BaseException | None, _trace: TracebackType | None) -> None:
    os._exit(exits.MEMORY if issubclass(kind, MemoryError) else exits.FAULT)


def hung_up(channel: socket.socket) -> bool:
    """Whether the agent died before this process could ask to die with it."""
    poller = select.poll()
    poller.register(channel, 0)
    return bool(poller.poll(0))  # POLLHUP and POLLERR are told unasked


def serve(channel: socket.socket, damage: DamageLog, granted: Measure) -> None:
    """Answer requests until the other end closes."""
    assignment = receive_assignment(channel)
    if assignment is None:
        return
    tell_libraries(stalled_s=assignment.stalled_s)
    granted |= before_libraries(assignment)
    try:
        # Only now: they read what was set for them when they are imported.
        from drivers.camera_people.worker.counting import make_counter  # noqa: PLC0415
        from drivers.camera_people.worker.look import Looker  # noqa: PLC0415
        from drivers.camera_people.worker.reader import Reader  # noqa: PLC0415

        counter = make_counter(assignment)
    except WrongModel:
        os._exit(exits.MODEL)
    except ImportError:
        os._exit(exits.LIBRARY)
    try:
        source = make_source(assignment, damage)
    except DeviceUnavailable:
        os._exit(exits.SOURCE)
    reader = Reader(source, stalled_s=assignment.stalled_s)
    looker = Looker(reader, counter, damage, assignment)
    # All is loaded, nothing is seen yet, and there is one thread: what it gives up, the next ones do not have.
    granted |= confine(assignment)
    channel.sendall(encode_greeting(granted))
    threading.Thread(target=reader.run, name="reader", daemon=True).start()
    while request := exactly(channel, REQUEST.size):
        (wait_ms,) = REQUEST.unpack(request)
        if reader.stuck_s() > STUCK_FACTOR * assignment.stalled_s + STUCK_S:
            os._exit(exits.STUCK)
        channel.sendall(encode(looker.answer(wait_ms / 1000)))


def receive_assignment(channel: socket.socket) -> Assignment | None:
    """Return what the other end says first; none if it closes."""
    head = exactly(channel, LENGTH.size)
    if not head:
        return None
    (length,) = LENGTH.unpack(head)
    if length > MAX_BYTES:
        os._exit(exits.FAULT)
    text = exactly(channel, length)
    return unpack(text) if text else None


def exactly(channel: socket.socket, size: int) -> bytes:
    """Return `size` bytes; nothing once the other end has closed."""
    data = b""
    while len(data) < size:
        piece = channel.recv(size - len(data))
        if not piece:
            return b""
        data += piece
    return data
