"""What the aiming view's page says, in Chinese and English; the page is for whoever stands on the ladder."""

from __future__ import annotations

from typing import Final

from drivers.camera_people.aim import End
from drivers.camera_people.views import Verdict

WAITING: Final = "正在等待第一幅画面。 Waiting for the first picture."
SHOWN: Final = "仅在本机显示；检测到人即关闭。 Shown on this machine only. The view closes when a person is detected."
CLOSED: Final = "画面已关闭。 The view is closed."
NOTHING: Final = "现在不能显示。 Nothing may be shown now."
HELD: Final = {
    Verdict.HOLD: "未发现人，稍候再确认。 Nobody found so far; a moment, to be sure.",
    Verdict.NO_PICTURE: "摄像头没有画面。 No picture from the camera.",
}
USED_KEY: Final = "密钥错误或已使用：请重新打开。 Wrong or used key: start the view again."
_ENDS: Final = {
    End.TIME: "时间到",
    End.PERSON: "检测到人",
    End.DARK: "太暗，无法确认没有人",
    End.UNSURE: "检测器给出的不是数值",
    End.REFUSED: "摄像头拒绝登录",
    End.STOPPED: "已手动停止",
    End.FAILED: "处理进程出错",
}


def closed_since(end: End) -> str:
    """Return why the view is closed."""
    return f"画面已关闭：{_ENDS[end]}。 The view is closed: {end}."
