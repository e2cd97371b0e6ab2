"""The privacy gate: what no key, policy and consent allow stays in the room, and is counted."""

from edge_agent.privacy.gate import Gate
from edge_agent.privacy.keys import GatewayKeys, load_keys
from edge_agent.privacy.policy import Policy, PolicyFile, load_policy

__all__ = ["Gate", "GatewayKeys", "Policy", "PolicyFile", "load_keys", "load_policy"]
