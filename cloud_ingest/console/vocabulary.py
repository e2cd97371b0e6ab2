"""Names of the domain in both languages: quantities, units, reasons, counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cloud_ingest.console.model import Words

if TYPE_CHECKING:
    from collections.abc import Mapping


def _w(zh: str, en: str) -> Words:
    return Words(zh=zh, en=en)


QUANTITY_NAMES: Final[Mapping[str, Words]] = {
    "temperature": _w("温度", "Temperature"),
    "humidity": _w("相对湿度", "Humidity"),
    "co2": _w("二氧化碳", "CO₂"),
    "pm1": _w("PM1", "PM1"),
    "pm2_5": _w("PM2.5", "PM2.5"),
    "pm10": _w("PM10", "PM10"),
    "illuminance": _w("照度", "Light"),
    "noise": _w("噪声", "Noise"),
    "pressure": _w("气压", "Air pressure"),
    "power": _w("功率", "Power"),
    "energy": _w("电能", "Energy"),
    "voltage": _w("电压", "Voltage"),
    "current": _w("电流", "Current"),
    "power_factor": _w("功率因数", "Power factor"),
    "heart_rate": _w("心率", "Heart rate"),
    "battery": _w("电池", "Battery"),
    "people": _w("室内人数", "People"),
    "brightness": _w("画面亮度", "Picture brightness"),
    "counter": _w("计数", "Counter"),
    "duration": _w("时长", "Duration"),
    "memory": _w("内存", "Memory"),
    "presence": _w("刷卡", "Card"),
    "state": _w("状态", "State"),
}

POINT_NAMES: Final[Mapping[str, Words]] = {
    "bands_seen": _w("在场手环数", "Bands here"),
    "heart_rate_mean": _w("班级平均心率", "Class mean heart rate"),
    "pupils": _w("参与平均的人数", "Pupils in that mean"),
}
"""Points whose quantity says too little."""

UNIT_SIGNS: Final[Mapping[str, Words]] = {
    "Cel": _w("°C", "°C"),
    "%RH": _w("%", "%"),
    "ppm": _w("ppm", "ppm"),
    "ug/m3": _w("µg/m³", "µg/m³"),
    "/": _w("", ""),
    "beat/min": _w("次/分", "/min"),
    "%EL": _w("%", "%"),
    "count": _w("", ""),
    "By": _w("B", "B"),
}
"""Where the sign differs from the canonical name."""

PEOPLE_UNIT: Final = _w("人", "people")

DECIMALS: Final[Mapping[str, int]] = {
    "brightness": 2,
    "temperature": 1,
    "voltage": 1,
    "current": 2,
    "energy": 2,
    "power_factor": 2,
}
"""Digits after the point that are worth showing; 0 for all others."""

REASON_WORDS: Final[Mapping[str, Words]] = {
    "timeout": _w("设备没有应答", "the device does not answer"),
    "out_of_range": _w("读数超出传感器量程", "outside what the sensor can measure"),
    "decode": _w("收到的数据无法识别", "what it sent cannot be understood"),
    "stale": _w("传感器不再更新", "the sensor no longer updates"),
    "clock_unsynced": _w("网关时钟未同步", "the gateway's clock is not synchronised"),
    "sensor_fault": _w("传感器故障", "the sensor reports a fault"),
    "warming_up": _w("传感器预热中", "the sensor is warming up"),
    "dark": _w("画面太暗，无法计数", "too dark to count"),
    "covered": _w("镜头被遮挡，无法计数", "the lens is covered"),
    "outside_hours": _w("不在启用时段内", "outside its hours"),
}

CLASS_NAMES: Final[Mapping[str, Words]] = {
    "open": _w("环境", "environment"),
    "group": _w("人数汇总", "counts of people"),
    "personal": _w("考勤", "attendance"),
    "sensitive": _w("心率", "heart rate"),
    "ops": _w("设备运行", "operation"),
}

WITHHELD_WORDS: Final[Mapping[str, Words]] = {
    "no_policy": _w("没有策略", "there is no policy"),
    "no_key": _w("没有密钥", "there is no key"),
    "policy_expired": _w("策略已过期", "the policy has expired"),
    "policy_not_yet_valid": _w("策略尚未生效", "the policy is not valid yet"),
    "document_forged": _w("所需文件的签名不可信", "a document it needs is signed by nobody who is trusted"),
    "document_refused": _w("所需文件被拒绝", "a document it needs is refused"),
    "point_not_allowed": _w("策略不允许这个测点", "the policy does not allow this point"),
    "distance_room": _w("策略规定不出教室", "the policy keeps it in the room"),
    "no_roster": _w("没有有效的课表名册", "there is no valid roster"),
    "outside_hours": _w("不在允许的时间", "outside the hours that are allowed"),
    "unbound": _w("手环未绑定", "the band is nobody's"),
    "consents_too_old": _w("同意名单太旧", "the list of consents is too old"),
    "consent_expired": _w("同意已到期", "the consent has expired"),
    "class_not_allowed": _w("策略不允许这类数据", "the policy does not allow this kind"),
    "purpose_not_allowed": _w("策略不允许这一用途", "the policy does not allow this purpose"),
    "no_consent": _w("没有同意", "there is no consent"),
    "no_subject": _w("无法对应到人", "it belongs to nobody known"),
    "unknown_point": _w("策略里没有这个测点", "the policy does not know this point"),
    "clock_unsynced": _w("网关时钟未同步", "the gateway's clock is not synchronised"),
}

DOCUMENT_NAMES: Final[Mapping[str, Words]] = {
    "policy": _w("策略", "Policy"),
    "consents": _w("同意名单", "List of consents"),
    "roster": _w("课表名册", "Roster"),
}
"""The documents of the privacy gate, in the order in which they are shown."""

DOCUMENT_STATES: Final[Mapping[str, Words]] = {
    "in_force": _w("生效", "in force"),
    "none": _w("未设置", "not set"),
    "refused": _w("已拒绝", "refused"),
    "not_yet_valid": _w("尚未生效", "not valid yet"),
    "expired": _w("已过期", "expired"),
    "too_old": _w("太旧，不再采信", "too old to be believed"),
    "unknown": _w("状态未知", "unknown"),
}

COUNTER_WORDS: Final[Mapping[str, Words]] = {
    "buffer.dropped_values": _w("缓冲已满，丢弃的数值", "values dropped because the buffer was full"),
    "buffer.dropped_batches": _w("缓冲已满，丢弃的批次", "batches dropped because the buffer was full"),
    "buffer.expired_values": _w("等待过久，丢弃的数值", "values dropped because they had waited too long"),
    "buffer.lost_values": _w("磁盘损坏丢失的数值", "values lost to a damaged disk"),
    "buffer.lost_batches": _w("磁盘损坏丢失的批次", "batches lost to a damaged disk"),
    "buffer.unreadable_batches": _w("磁盘上读不出的批次", "batches that the disk no longer gives back"),
    "buffer.unreadable_segments": _w("磁盘上读不出的文件", "files that the disk no longer gives back"),
    "buffer.disk_errors": _w("磁盘读写出错", "errors of the disk"),
    "buffer.events_not_durable": _w("未能及时落盘的事件", "events that were not on disk in time"),
    "clock.dropped_samples": _w("等待校时放不下而丢弃的样本", "samples dropped while they waited for the time"),
    "clock.lost_samples": _w(
        "等待校时因磁盘损坏丢失的样本", "samples lost to a damaged disk while they waited for the time"
    ),
    "clock.uncertain_samples": _w("时间不准的样本", "samples of an uncertain time"),
    "clock.waiting_disk_errors": _w("等待校时的样本读写磁盘出错", "errors of the disk while samples wait for the time"),
    "publisher.login_refused": _w("登录消息代理被拒绝", "logins refused by the broker"),
    "publisher.ack_timeouts": _w("等待回执超时", "acknowledgements that came too late"),
    "publisher.slow_ack": _w("回执偏慢", "slow acknowledgements"),
    "failed_readings": _w("读取失败", "failed readings"),
    "missed_periods": _w("错过的采集周期", "readings that came too late"),
    "garbled_replies": _w("损坏的应答", "garbled replies"),
    "checksum_errors": _w("校验错误", "checksum errors"),
    "overrun_bytes": _w("来不及处理的字节", "bytes that came too fast"),
    "dropped_messages": _w("来不及处理的消息", "messages that came too fast"),
    "undecodable": _w("无法识别的数据", "data that cannot be understood"),
    "unbound_readings": _w("不属于登记手环的读数", "readings of bands that are not listed"),
}
"""A counter's whole name or its last level → what it counts."""
