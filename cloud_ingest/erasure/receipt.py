"""The receipt: what was found where and what became of it, signed; whoever has the cloud's public key can check it."""

from __future__ import annotations

import base64
import binascii
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from telemetry.erasure import keyed_hash
from telemetry.errors import CampusError
from telemetry.signed import PublicKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from cloud_ingest.erasure.state import State

SCHEMA: Final = "campus.erasure-receipt/1"
DOMAIN: Final = b"campus-receipt/1\0"
"""Before what is signed: a signature made for something else is none here."""
ALGORITHM: Final = "ed25519"


class ReceiptRefused(CampusError):
    """The receipt is not what the cloud's key signed."""


def make(state: State, key: Ed25519PrivateKey) -> bytes:
    """Return the signed receipt of a request as it stands now."""
    body = _body(state)
    signature = base64.b64encode(key.sign(DOMAIN + _canonical(body))).decode()
    key_id = PublicKey(raw=key.public_key().public_bytes_raw()).key_id
    body["signature"] = {"algorithm": ALGORITHM, "key_id": key_id, "value": signature}
    return json.dumps(body, ensure_ascii=False, indent=2).encode() + b"\n"


def verify(text: bytes, trusted: Mapping[str, PublicKey]) -> dict[str, Any]:
    """Return the receipt in `text`. Raises ReceiptRefused unless one of the trusted keys signed all of it."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only who verifies needs it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        receipt = json.loads(text, object_pairs_hook=_only_once)
        signature = receipt.pop("signature")
        key_id, value = signature["key_id"], base64.b64decode(signature["value"], validate=True)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise ReceiptRefused("is no signed receipt") from error
    if receipt.get("schema") != SCHEMA:
        raise ReceiptRefused("is no receipt of an erasure")
    key = trusted.get(key_id) if isinstance(key_id, str) else None
    if key is None:
        raise ReceiptRefused(f"is signed with another key than {', '.join(trusted)}")
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(value, DOMAIN + _canonical(receipt))
    except (InvalidSignature, ValueError) as error:
        raise ReceiptRefused("was altered, or the cloud never signed it") from error
    found: dict[str, Any] = receipt
    return found


def concerns(receipt: Mapping[str, Any], handle: str) -> bool:
    """Tell whether a receipt is about the person with this handle."""
    return keyed_hash(bytes.fromhex(receipt["salt"]), handle) in receipt["hashes"]


def _body(state: State) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "request": state.request,
        "site": state.site,
        "asked_at": moment(state.asked_at_ns),
        "asked_by": state.asked_by,
        "reason": state.reason,
        "issued_at": moment(time.time_ns()),
        "complete": not state.pending,
        "salt": state.erasure.salt,
        "hashes": list(state.erasure.hashes),
        "dropped_until": state.erasure.keep_until.astimezone(UTC).isoformat(timespec="seconds"),
        "places": _places(state),
        "pending": {
            "gateways": state.pending_gateways,
            "workers": state.pending_workers,
            "stores": state.pending_stores,
        },
        "handed_over": {"accesses": state.handed_over, "backups": state.backups},
    }


def _places(state: State) -> list[dict[str, Any]]:
    places: list[dict[str, Any]] = [
        {
            "place": f"store {name}",
            "found_rows": one.found_rows,
            "erased_at": moment(one.erased_at_ns),
            "verified_at": moment(one.verified_at_ns),
            "verified": one.verified,
            "remains": one.remains,
        }
        for name, one in sorted(state.stores.items())
    ]
    places += [
        {
            "place": f"worker {name}: rows on their way, dead letters",
            "found_letters": one.letters,
            "erased_at": moment(one.confirmed_at_ns),
            "verified": "waited until what it had in hand was settled; drops later rows" if one.confirmed_at_ns else "",
        }
        for name, one in sorted(state.workers.items())
    ]
    places.append({"place": "dead letters of this data folder", "found_letters": state.letters})
    places.append({"place": "identities of batches (seen.sqlite)", "verified": "holds digests and numbers, no handle"})
    places.append(
        {
            "place": "retained messages of the broker",
            "found_messages": state.retained,
            "verified": "all of this site were read" if state.retained is not None else "",
        }
    )
    places += [
        {
            "place": f"gateway {name}: buffer",
            "found_values": one.values,
            "erased_at": moment(one.confirmed_at_ns),
            "still_consented": one.still_consented,
            "said": one.said,
        }
        for name, one in sorted(state.gateways.items())
    ]
    return places


def moment(time_ns: int | None) -> str | None:
    """Return UTC nanoseconds as text, to the second."""
    return None if time_ns is None else datetime.fromtimestamp(time_ns // 10**9, tz=UTC).isoformat()


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(
        msgspec.to_builtins(body), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _only_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice: two readers would read two receipts")
    return found
