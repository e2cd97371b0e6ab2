"""The buffer: nothing that the gate admitted is lost before it is acknowledged."""

from edge_agent.buffer.buffer import Buffer
from edge_agent.buffer.record import EncodedBatch
from edge_agent.buffer.status import BufferStatus, read_status
from edge_agent.buffer.unsynced_form import Stamp, WaitingState
from edge_agent.buffer.waiting import WaitingRoom

__all__ = [
    "Buffer",
    "BufferStatus",
    "EncodedBatch",
    "Stamp",
    "WaitingRoom",
    "WaitingState",
    "read_status",
]
