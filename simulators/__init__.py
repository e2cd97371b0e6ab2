"""Devices at the wire, the ledger of what they said, and the demo that compares it with the store."""
