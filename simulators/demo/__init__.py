"""The whole path on one machine: devices, broker, agent and ingest as processes, and a verdict on every value."""
