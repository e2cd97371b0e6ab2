"""The language that every part speaks: types, topics, wire format, errors. No I/O, no asyncio."""
