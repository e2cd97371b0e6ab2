"""The source of an assignment; only the one that is used is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.camera_people.assignment import FILE, V4L2

if TYPE_CHECKING:
    from drivers.camera_people.assignment import Assignment
    from drivers.camera_people.worker.damage import DamageLog
    from drivers.camera_people.worker.source import Source


def make_source(assignment: Assignment, damage: DamageLog) -> Source:
    """Return it, not yet open. Raises DeviceUnavailable if a local camera's file or device cannot be opened."""
    if assignment.capture == "rtsp":
        from drivers.camera_people.worker.rtsp import RtspSource  # noqa: PLC0415 - imports cv2

        return RtspSource(assignment, damage)
    if assignment.capture == FILE:
        from drivers.camera_people.worker.file import FileSource  # noqa: PLC0415

        return FileSource(assignment, damage)
    if assignment.capture == V4L2:
        from drivers.camera_people.worker.v4l2 import V4l2Source  # noqa: PLC0415

        return V4l2Source(assignment)
    from drivers.camera_people.worker.mjpeg import MjpegSource  # noqa: PLC0415
    from drivers.camera_people.worker.snapshot import SnapshotSource  # noqa: PLC0415

    return (MjpegSource if assignment.capture == "mjpeg" else SnapshotSource)(assignment)
