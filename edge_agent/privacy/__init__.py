"""The privacy gate: what no signed policy, key and consent allow stays in the room, and is counted."""

from edge_agent.privacy.documents import DocumentKind
from edge_agent.privacy.gate import Gate
from edge_agent.privacy.in_force import NOTHING, InForce
from edge_agent.privacy.keys import GatewayKeys, load_keys
from edge_agent.privacy.office import Documents, Receipt
from edge_agent.privacy.trust import load_trusted

__all__ = [
    "NOTHING",
    "DocumentKind",
    "Documents",
    "Gate",
    "GatewayKeys",
    "InForce",
    "Receipt",
    "load_keys",
    "load_trusted",
]
