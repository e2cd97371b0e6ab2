"""The publisher: batches to the broker, acknowledgements back to the outbox."""

from edge_agent.publisher.connection import Broker
from edge_agent.publisher.outbox import Outbox, Outgoing
from edge_agent.publisher.publisher import Publisher

__all__ = ["Broker", "Outbox", "Outgoing", "Publisher"]
