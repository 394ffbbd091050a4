"""What people read of an alert: one short line, in English or Chinese. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias

from hub.campus.accounts.accounts import Utility
from hub.campus.alerts.forecast import DAYS_MAX
from hub.campus.alerts.kinds import (
    ARREARS_CUT,
    OFFLINE_LINK,
    RESTORED_ARMED,
    RESTORED_BACK,
    TRIP_LOCKED,
    USE_NIGHT,
    Alert,
    Args,
    Kind,
)


class Language(StrEnum):
    """What a channel speaks."""

    EN = "en"
    ZH = "zh"


Said: TypeAlias = tuple[str, str]  # English, Chinese
# Beside electricity, which goes without saying.
_UTILITIES: Mapping[Utility, Said] = {
    Utility.HOT_WATER: ("hot water", "热水"),
    Utility.DRINKING_WATER: ("drinking water", "饮用水"),
}
_FEW_MORE = 40  # bytes kept for the line that counts what is left out


def line(alert: Alert, language: Language) -> str:
    """One line: where, what, and how long it lasts."""
    place = f"{alert.subject.building} {alert.subject.room}".strip() or alert.subject.id
    for utility, names in _UTILITIES.items():
        if alert.subject.id.endswith(f"/{utility}"):
            place = f"{place} {names[language is Language.ZH]}"
    english, chinese = _SAY[alert.kind](alert)
    return f"{place}: {english}" if language is Language.EN else f"{place}:{chinese}"


def digest(lines: Sequence[str], language: Language, bytes_max: int) -> str:
    """All lines, or as many as fit, with the number of the others."""
    whole = "\n".join(lines)
    if len(whole.encode()) <= bytes_max:
        return whole
    shown: list[str] = []
    left = bytes_max - _FEW_MORE
    for one in lines:
        left -= len(one.encode()) + 1
        if left < 0:
            break
        shown.append(one)
    more = len(lines) - len(shown)
    shown.append(f"and {more} more" if language is Language.EN else f"另有 {more} 条")
    return "\n".join(shown)


def title(number: int, language: Language) -> str:
    """What stands above so many alerts."""
    if language is Language.EN:
        return f"Dormhub: {number} alert{'' if number == 1 else 's'}"
    return f"Dormhub:{number} 条提醒"


def _low_balance(alert: Alert) -> Said:
    english, chinese = _amount(alert.args)
    last = alert.args.get("days")
    if not isinstance(last, int):
        return f"{english} left", f"剩余 {chinese}"
    days_en, days_zh = _days(last)
    return f"{english} left, {days_en}", f"剩余 {chinese},{days_zh}"


def _days(days: int) -> Said:
    if days == 0:
        return "less than a day", "不足一天"
    if days >= DAYS_MAX:
        return f"more than {DAYS_MAX} days", f"可用 {DAYS_MAX} 天以上"
    return f"about {days} day{'' if days == 1 else 's'}", f"约可用 {days} 天"


def _arrears(alert: Alert) -> Said:
    if alert.level == ARREARS_CUT:
        return "power was cut, the credit is used up", "余额已用尽,已断电"
    english, chinese = _amount(alert.args)
    return f"the credit is used up ({english})", f"余额已用尽({chinese})"


def _restored(alert: Alert) -> Said:
    if alert.level == RESTORED_ARMED:
        return "power may be switched on again at the meter", "已恢复供电,请到电表处合闸"
    if alert.level == RESTORED_BACK:
        return "is there again", "已恢复通信"
    return "power is back", "已恢复供电"


def _trip(alert: Alert) -> Said:
    if alert.level == TRIP_LOCKED:
        return (
            "tripped too often and stays off until staff unlock it",
            "多次跳闸已锁定,需管理员解锁",
        )
    return "the meter switched off: too much power", "功率超限,电表已跳闸"


def _offline(alert: Alert) -> Said:
    hours = f"{int(alert.args.get('silent_s', 0)) / 3600:.1f}"
    if alert.level == OFFLINE_LINK:
        number = alert.args.get("devices", 0)
        english = f"the whole link is silent for {hours} h, {number} devices"
        return english, f"整条链路 {hours} 小时无应答,共 {number} 台设备"
    name = alert.subject.id.partition("/")[2]
    return f"meter {name} is silent for {hours} h", f"电表 {name} 已 {hours} 小时无应答"


def _unusual(alert: Alert) -> Said:
    used, usual = (_kwh(int(alert.args.get(name, 0))) for name in ("used_wh", "usual_wh"))
    day = alert.args.get("day", "")
    if alert.level == USE_NIGHT:
        english = f"{used} kWh in one hour of the night of {day}, usually {usual}"
        return english, f"{day} 夜间一小时用电 {used} 度,平时 {usual} 度"
    return f"used {used} kWh on {day}, usually {usual}", f"{day} 用电 {used} 度,平时 {usual} 度"


def _amount(args: Args) -> Said:
    fen, energy_wh = args.get("fen"), args.get("wh")
    if isinstance(fen, int):
        sign, whole = "-" if fen < 0 else "", abs(fen)
        yuan = f"{sign}{whole // 100}.{whole % 100:02d}"
        return f"{yuan} yuan", f"{yuan} 元"
    kwh = _kwh(energy_wh if isinstance(energy_wh, int) else 0)
    return f"{kwh} kWh", f"{kwh} 度"


def _kwh(energy_wh: int) -> str:
    return f"{energy_wh / 1000:.1f}"


_SAY: Mapping[Kind, Callable[[Alert], Said]] = {
    Kind.LOW_BALANCE: _low_balance,
    Kind.ARREARS: _arrears,
    Kind.RESTORED: _restored,
    Kind.TRIP: _trip,
    Kind.OFFLINE: _offline,
    Kind.UNUSUAL_USE: _unusual,
    Kind.TEST: lambda _: ("this channel works", "通道测试正常"),
}
