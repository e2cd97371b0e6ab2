"""Bleak's errors, translated once. An address in a library's text never gets past here."""

from __future__ import annotations

import re
from typing import Final

from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakDBusError,
    BleakError,
    BleakGATTProtocolError,
    BleakGATTProtocolErrorCode,
)

from telemetry.errors import AuthError, DeviceUnavailable

LIBRARY_ERRORS: Final = (BleakError, OSError, EOFError, TimeoutError)
"""What bleak raises: its own, D-Bus' socket gone, a deadline of ours."""
_DENIED: Final = {
    BleakBluetoothNotAvailableReason.DENIED_BY_USER,
    BleakBluetoothNotAvailableReason.DENIED_BY_SYSTEM,
    BleakBluetoothNotAvailableReason.DENIED_BY_UNKNOWN,
}
_DENIED_DBUS: Final = {
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.bluez.Error.AuthenticationFailed",
    "org.bluez.Error.AuthenticationRejected",
    "org.bluez.Error.NotAuthorized",
    "org.bluez.Error.NotPermitted",
}
_DENIED_GATT: Final = {
    BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHENTICATION,
    BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHORIZATION,
    BleakGATTProtocolErrorCode.INSUFFICIENT_ENCRYPTION,
}
_ADDRESS: Final = re.compile(r"(?:[0-9A-Fa-f]{2}[:_-]){5}[0-9A-Fa-f]{2}")


def adapter_error(link: str, what: str, error: BaseException) -> DeviceUnavailable | AuthError:
    """Return the error for an adapter that could not do `what`; the library's words are kept, addresses are not."""
    said = error.args[0] if isinstance(error, BleakBluetoothNotAvailableError) else error
    words = _ADDRESS.sub("(an address)", str(said)) or type(error).__name__
    if is_denied(error):
        return AuthError(
            f"link {link}: {what} is refused: {words} → let the agent's user use Bluetooth (group bluetooth)"
        )
    if isinstance(error, TimeoutError):
        return DeviceUnavailable(f"link {link}: {what} did not end in time", timed_out=True)
    return DeviceUnavailable(f"link {link}: {what} failed: {words}")


def peer_error(link: str, what: str, error: BaseException) -> DeviceUnavailable | AuthError:
    """Return the error for a device that could not be talked to: without the library's words, which may name it."""
    if is_denied(error):
        return AuthError(f"link {link}: a device refuses {what}")
    return DeviceUnavailable(
        f"link {link}: {what} failed ({type(error).__name__})", timed_out=isinstance(error, TimeoutError)
    )


def is_denied(error: BaseException) -> bool:
    """Tell whether only a person can mend it."""
    if isinstance(error, BleakBluetoothNotAvailableError):
        return error.reason in _DENIED
    if isinstance(error, BleakDBusError):
        return error.dbus_error in _DENIED_DBUS
    if isinstance(error, BleakGATTProtocolError):
        return error.code in _DENIED_GATT
    return isinstance(error, PermissionError)
