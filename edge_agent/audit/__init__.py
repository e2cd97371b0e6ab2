"""What the gateway did with data about people: a hash-chained log whose head the cloud keeps."""

from edge_agent.audit.chain import Entry, Fault, Finding, Head, Verdict, verify
from edge_agent.audit.log import AuditLog, lines

__all__ = ["AuditLog", "Entry", "Fault", "Finding", "Head", "Verdict", "lines", "verify"]
