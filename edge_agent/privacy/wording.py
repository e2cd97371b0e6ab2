"""What `privacy show` says, in Chinese and English: reasons, bases, distances, states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from edge_agent.privacy.documents import Basis, Consents, Distance, DocumentKind, Text
from edge_agent.privacy.standing import State, age, minute
from telemetry.erasure import to_ns
from telemetry.sample import DataClass, WithheldReason

if TYPE_CHECKING:
    from edge_agent.privacy.standing import Standing

Language = Literal["zh", "en"]


def _text(zh: str, en: str) -> Text:
    return Text(zh=zh, en=en)


CLASSES: Final = {
    DataClass.OPEN: _text("环境能耗", "air and energy"),
    DataClass.OPS: _text("网关运维", "the gateway itself"),
    DataClass.GROUP: _text("群体统计", "groups"),
    DataClass.PERSONAL: _text("个人信息", "persons"),
    DataClass.SENSITIVE: _text("敏感个人信息", "persons, sensitive"),
}
BASES: Final = {
    Basis.CONSENT: _text("个人同意", "consent"),
    Basis.CONTRACT: _text("履行合同", "contract"),
    Basis.LEGAL_DUTY: _text("法定职责", "legal duty"),
    Basis.EMERGENCY: _text("紧急情况", "emergency"),
    Basis.PUBLIC_INTEREST: _text("公共利益报道", "reporting in the public interest"),
    Basis.DISCLOSED: _text("已公开信息", "made public by the person"),
    Basis.LAW: _text("法律法规规定", "provided by law"),
}
DISTANCES: Final = {
    Distance.ROOM: _text("不出教室", "stays in the room"),
    Distance.SCHOOL: _text("校内", "school"),
    Distance.DISTRICT: _text("区级", "district"),
}
DOCUMENTS: Final = {
    DocumentKind.POLICY: _text("策略", "policy"),
    DocumentKind.CONSENTS: _text("同意名单", "consents"),
    DocumentKind.ROSTER: _text("课表名册", "roster"),
}
REASONS: Final = {
    WithheldReason.UNKNOWN_POINT: _text("没有设备档案认识的测点", "no profile knows the point"),
    WithheldReason.NO_POLICY: _text("没有策略文件", "there is no policy"),
    WithheldReason.DOCUMENT_FORGED: _text("所需文件的签名不可信", "a document it needs is not signed by a trusted key"),
    WithheldReason.DOCUMENT_REFUSED: _text("所需文件被拒绝(见上)", "a document it needs is refused (see above)"),
    WithheldReason.POLICY_NOT_YET_VALID: _text("策略尚未生效", "the policy is not yet valid"),
    WithheldReason.POLICY_EXPIRED: _text("策略已过期", "the policy has expired"),
    WithheldReason.CLASS_NOT_ALLOWED: _text("策略不许此类数据", "no rule for this class"),
    WithheldReason.PURPOSE_NOT_ALLOWED: _text("策略不许此用途", "no rule for this purpose"),
    WithheldReason.POINT_NOT_ALLOWED: _text("策略不许此测点", "no rule for this point"),
    WithheldReason.DISTANCE_ROOM: _text("策略规定不出教室", "the policy keeps it in the room"),
    WithheldReason.NO_ROSTER: _text("没有有效的课表名册", "there is no valid roster"),
    WithheldReason.OUTSIDE_HOURS: _text("不在允许的时间", "outside the hours allowed"),
    WithheldReason.NO_SUBJECT: _text("不知是谁", "nobody knows whose it is"),
    WithheldReason.NO_KEY: _text("没有此用途的密钥", "there is no key for this purpose"),
    WithheldReason.UNBOUND: _text("手环未绑定", "the band is nobody's"),
    WithheldReason.CONSENTS_TOO_OLD: _text("同意名单太旧", "the list of consents is too old"),
    WithheldReason.NO_CONSENT: _text("没有同意", "no consent"),
    WithheldReason.CONSENT_EXPIRED: _text("同意已到期", "the consent has expired"),
    WithheldReason.CLOCK_UNSYNCED: _text("时钟未同步", "the clock is not synchronised"),
}


def say(text: Text, language: Language) -> str:
    """Return the text in one language."""
    return text.zh if language == "zh" else text.en


def standing_in_words(standing: Standing, now_ns: int, language: Language) -> str:
    """Return how a document stands, in one line."""
    if language == "en":
        return standing.words(now_ns)
    state = standing.state(now_ns)
    if standing.accepted is None or standing.until is None:
        # The reason itself names files and keys; it is for whoever mends it, and stands in the logs in the same words.
        return ("未设置: " if state is State.NONE else "已拒绝: ") + standing.why
    document = standing.accepted.document
    head = {
        State.IN_FORCE: "生效",
        State.EXPIRED: "已过期",
        State.TOO_OLD: "太旧,不再采信",
        State.NOT_YET_VALID: "尚未生效",
    }[state]
    issued = age_zh(now_ns - to_ns(document.issued_at))
    from_ = "" if isinstance(document, Consents) or state is not State.NOT_YET_VALID else minute(document.valid_from)
    return (
        f"{head}: 序号 {document.serial}, {issued}前签发, "
        + (f"自 {from_} 起, " if from_ else "")
        + f"有效至 {minute(standing.until)}, 签名密钥 {standing.accepted.key.key_id}"
    )


def age_zh(span_ns: int) -> str:
    """Return a time span as people say it in Chinese."""
    return age(span_ns).replace("min", "分钟").replace("days", "天").replace("h", "小时")
