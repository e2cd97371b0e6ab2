"""The buffer: nothing that the gate admitted is lost before it is acknowledged."""

from edge_agent.buffer.buffer import Buffer
from edge_agent.buffer.record import EncodedBatch
from edge_agent.buffer.status import BufferStatus, read_status

__all__ = ["Buffer", "BufferStatus", "EncodedBatch", "read_status"]
