"""The buffer: nothing that the gate admitted is lost before it is acknowledged."""

from edge_agent.buffer.buffer import Buffer
from edge_agent.buffer.priority import Priority, priority_of
from edge_agent.buffer.rates import FlashState
from edge_agent.buffer.record import HEADER_BYTES, EncodedBatch
from edge_agent.buffer.status import BufferStatus, greatest_age_h, read_status
from edge_agent.buffer.unsynced_form import Stamp, WaitingState
from edge_agent.buffer.waiting import WaitingRoom

__all__ = [
    "HEADER_BYTES",
    "Buffer",
    "BufferStatus",
    "EncodedBatch",
    "FlashState",
    "Priority",
    "Stamp",
    "WaitingRoom",
    "WaitingState",
    "greatest_age_h",
    "priority_of",
    "read_status",
]
