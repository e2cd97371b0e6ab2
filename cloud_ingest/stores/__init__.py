"""Databases behind one `Store`; `opening.open_store` picks by URL."""
