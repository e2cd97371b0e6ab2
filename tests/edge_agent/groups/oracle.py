"""The cells worked out a second time, from the text of edge_agent/groups/README.md only."""

import hashlib
import hmac


def cells_of(school_class, pupils, *, size, key):
    listed = sorted(pupils)
    salt = hashlib.sha256("\0".join([school_class, *listed]).encode()).digest()
    lots = {pupil: hmac.digest(key, b"campus-cells/1\0" + salt + b"\0" + pupil.encode(), "sha256") for pupil in listed}
    order = sorted(listed, key=lots.get)
    count = max(1, len(order) // size)
    return [set(order[first::count]) for first in range(count)]
