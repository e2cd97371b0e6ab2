"""Drivers: one folder per protocol, bytes to Samples; `links` holds the transports they share."""
