"""What `privacy keygen` tells the officer about keeping the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def instructions(folder: Path, site: str, key_id: str) -> str:
    """Return the text, Chinese first."""
    return f"""\
{site} 的密钥已生成 (签名密钥编号 {key_id}):
  {folder}/master.key    主密钥。所有代号由它派生。只由学校隐私专员保管, 绝不放到网关或服务器上。
  {folder}/officer.pem   签名私钥。只由隐私专员使用, 用来签发策略、同意名单和课表名册。
  {folder}/officer.pub   签名公钥。安装到每台网关: [privacy] trusted_keys。
备份 (今天就做):
  1. 把 master.key 和 officer.pem 各复制到两个加密 U 盘, 核对一遍 (sha256sum 相同)。
  2. 一个放学校保险柜, 由校长签封; 一个由另一位负责人异地保管。登记交接, 每学年开封核对一次。
  3. master.key 丢失: 网关照常运行, 但不能再配新网关、查询代号或换学年; 代号须全部重来。
  4. master.key 泄露: 立即另建一套密钥, 换掉所有网关的密钥文件; 旧代号视为可识别到人。

Keys of {site} (signing key {key_id}):
  {folder}/master.key    Every handle derives from it. It belongs to the officer alone, on no gateway and no server.
  {folder}/officer.pem   Signs policy, consents and roster. The officer's alone.
  {folder}/officer.pub   Public. Goes to every gateway: [privacy] trusted_keys.
Escrow, today:
  1. Copy master.key and officer.pem to two encrypted USB sticks; compare by sha256sum.
  2. One into the school's safe, sealed by the head; one with another responsible person elsewhere. Check both yearly.
  3. master.key lost: gateways go on, but there will be no new gateway, no look-up and no next school year with it.
  4. master.key leaked: make new keys at once and replace every gateway's; treat the old handles as names."""
