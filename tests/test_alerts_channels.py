"""What leaves the hub, at real ends on this box: robots' forms and signatures, mail, web-hooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from hub import ConfigErrors, load_site
from hub.campus.alerts.post import DOWN_TRIES, SCHEDULE_S
from hub.campus.alerts.settings import read_alerts
from tests.alert_site import PREPAID, Watched, watched
from tests.campus_house import HOUR_S
from tests.provisioned import SITE, write_building
from tests.receivers import WebEnd, mail_end, web_end

SECRET = "SEC-planted-secret"
HOOK = bytes(range(24))


@pytest.fixture
async def end() -> AsyncIterator[WebEnd]:
    async with web_end() as made:
        yield made


def secret_file(folder: Path, name: str, text: str, mode: int = 0o600) -> str:
    path = folder / "config" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    path.chmod(mode)
    return name


def channel(folder: Path, end: WebEnd, type: str, *more: str, name: str = "duty") -> str:
    """A robot's table, or that of a web-hook, whose address holds a planted token."""
    url = f"{end.url}/robot?access_token=planted-token"
    lines = [f"[alerts.channels.{name}]", f'type = "{type}"', *more]
    if type == "webhook":
        secret_file(folder, f"{name}-hook", "whsec_" + base64.b64encode(HOOK).decode())
        lines += [f'url = "{end.url}/hook"', f'secret_file = "{name}-hook"']
    else:
        lines.append(f'url_file = "{secret_file(folder, f"{name}-url", url)}"')
    if type in ("dingtalk", "feishu"):
        lines.append(f'secret_file = "{secret_file(folder, f"{name}-sign", SECRET)}"')
    return "\n" + "\n".join(lines) + "\n"


def sign(key: str, text: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


async def low(site: Watched, fen: int = 2_000) -> None:
    """One alert, from 50 yuan down."""
    await site.look(5_000)
    await site.look(fen)


async def test_wecom_gets_text(tmp_path: Path, end: WebEnd) -> None:
    async with watched(tmp_path, channel(tmp_path, end, "wecom")) as site:
        await low(site)
        assert await site.alerts.post.say("duty") == 1
        assert await site.alerts.post.say("duty") == 0
    (got,) = end.got
    assert got.path == "/robot?access_token=planted-token"
    assert json.loads(got.body) == {
        "msgtype": "text",
        "text": {"content": "Dormhub: 1 alert\nB1 101: 20.00 yuan left"},
    }


async def test_dingtalk_is_signed_in_its_query(tmp_path: Path, end: WebEnd) -> None:
    async with watched(tmp_path, channel(tmp_path, end, "dingtalk", 'language = "zh"')) as site:
        await low(site)
        assert await site.alerts.post.say("duty") == 1
        now_ms = site.house.clock.now_ms()
    query = parse_qs(urlsplit(end.got[0].path).query)
    assert query == {
        "access_token": ["planted-token"],
        "timestamp": [str(now_ms)],
        "sign": [sign(SECRET, f"{now_ms}\n{SECRET}")],
    }
    assert (
        json.loads(end.got[0].body)["text"]["content"] == "Dormhub:1 条提醒\nB1 101:剩余 20.00 元"
    )


async def test_feishu_is_signed_in_its_body(tmp_path: Path, end: WebEnd) -> None:
    async with watched(tmp_path, channel(tmp_path, end, "feishu")) as site:
        await low(site)
        assert await site.alerts.post.say("duty") == 1
        time_s = str(site.house.clock.now_ms() // 1000)
    assert json.loads(end.got[0].body) == {
        "msg_type": "text",
        "content": {"text": "Dormhub: 1 alert\nB1 101: 20.00 yuan left"},
        "timestamp": time_s,
        "sign": sign(f"{time_s}\n{SECRET}", ""),
    }


async def test_a_web_hook_is_signed_and_its_repeats_have_the_same_id(
    tmp_path: Path, end: WebEnd
) -> None:
    end.answers = [(503, b"")]
    async with watched(tmp_path, channel(tmp_path, end, "webhook")) as site:
        await low(site)
        await site.alerts.post.say("duty")
        site.house.clock.advance(SCHEDULE_S[0])
        await site.alerts.post.say("duty")
    ids = {got.headers["webhook-id"] for got in end.got}
    assert (len(end.got), len(ids)) == (2, 1)
    for got in end.got:
        signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode()
        made = hmac.new(HOOK, signed + got.body, hashlib.sha256).digest()
        assert got.headers["webhook-signature"] == "v1," + base64.b64encode(made).decode()
    (told,) = json.loads(end.got[1].body)["alerts"]
    assert (told["kind"], told["room"], told["level"]) == ("low_balance", "101", 1)
    assert told["args"] == {"fen": 2_000}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Apprise imports
async def test_apprise_reaches_what_it_knows(tmp_path: Path, end: WebEnd) -> None:
    pytest.importorskip("apprise")
    secret_file(tmp_path, "any", end.url.replace("http://", "json://") + "/planted-token")
    table = '\n[alerts.channels.duty]\ntype = "apprise"\nurl_file = "any"\n'
    async with watched(tmp_path, table) as site:
        await low(site)
        assert await site.alerts.post.say("duty") == 1
    assert json.loads(end.got[0].body)["message"] == "B1 101: 20.00 yuan left"


MAIL = """
[alerts.channels.office]
type = "email"
host = "127.0.0.1"
port = {port}
user = "hub"
password_file = "mail-password"
ca_file = "mail.pem"
from = "hub@example.edu"
receivers = ["duty@example.edu", "head@example.edu"]
"""


async def test_mail_goes_over_tls_after_a_login(tmp_path: Path) -> None:
    async with mail_end(tmp_path / "config") as end:
        secret_file(tmp_path, "mail-password", end.password)
        async with watched(tmp_path, MAIL.format(port=end.port)) as site:
            await low(site)
            assert await site.alerts.post.say("office") == 1
    ((sender, receivers, letter),) = end.letters
    assert "hub@example.edu" in sender
    assert ["duty@" in receivers[0], "head@" in receivers[1]] == [True, True]
    assert "Subject: Dormhub: 1 alert" in letter
    assert "B1 101: 20.00 yuan left" in letter
    assert end.plain == 0


@pytest.mark.parametrize("wrong", ["password", "authority"])
async def test_mail_is_not_said_to_who_cannot_be_trusted(tmp_path: Path, wrong: str) -> None:
    async with mail_end(tmp_path / "config") as end:
        secret_file(
            tmp_path, "mail-password", {"password": "planted-wrong"}.get(wrong, end.password)
        )
        table = MAIL.format(port=end.port).replace(
            *{"authority": ('ca_file = "mail.pem"\n', "")}.get(wrong, ("", ""))
        )
        async with watched(tmp_path, table) as site:
            said = await site.alerts.test("office")
    assert said in ("SMTPAuthenticationError 535", "SSLCertVerificationError")
    assert end.letters == []


async def test_many_alerts_are_one_message_and_no_end_is_told_too_often(
    tmp_path: Path, end: WebEnd
) -> None:
    table = channel(tmp_path, end, "wecom", "per_minute = 6")
    async with watched(tmp_path, table) as site:
        await low(site)
        await site.alerts.post.say("duty")
        for action in ("cut", "tripped", "locked"):
            await site.supply(action)
        await site.turn(1)
        assert await site.alerts.post.say("duty") == 0
        site.house.clock.advance(9)
        assert await site.alerts.post.say("duty") == 3
    assert json.loads(end.got[1].body)["text"]["content"].count("\n") == 3


async def test_what_is_told_again_within_the_cool_down_waits_and_what_is_over_by_then_is_not(
    tmp_path: Path, end: WebEnd
) -> None:
    async with watched(
        tmp_path, channel(tmp_path, end, "wecom", 'kinds = ["low_balance"]')
    ) as site:
        say = site.alerts.post.say
        await low(site)
        assert await say("duty") == 1
        await low(site)  # paid, and low again: six hours have not passed
        assert [await say("duty"), len(end.got)] == [0, 1]
        site.house.clock.advance(6 * HOUR_S)
        assert await say("duty") == 1
        await low(site)
        await site.look(5_000)
        site.house.clock.advance(6 * HOUR_S)
        assert await say("duty") == 0
        await site.look(2_000)
        assert await say("duty") == 1
    assert len(end.got) == 3


async def test_a_worse_level_does_not_wait(tmp_path: Path, end: WebEnd) -> None:
    async with watched(tmp_path, channel(tmp_path, end, "wecom")) as site:
        await low(site)
        await site.alerts.post.say("duty")
        await site.look(500)
        assert await site.alerts.post.say("duty") == 1


async def test_a_room_that_opted_out_is_heard_of_by_staff_alone(
    tmp_path: Path, end: WebEnd
) -> None:
    tables = channel(tmp_path, end, "wecom", 'to = "rooms"', name="rooms")
    tables += channel(tmp_path, end, "wecom", name="staff")
    async with watched(tmp_path, tables) as site:
        mute, say = site.alerts.mute, site.alerts.post.say
        await mute(("B1", "101", "room"), ["low_balance"], "key/x")
        await low(site)
        assert [await say("rooms"), await say("staff")] == [0, 1]
        await mute(("B1", "101", "desk"), ["low_balance"], "key/y")
        await site.look(500)
        site.house.clock.advance(60)
        assert [await say("rooms"), await say("staff")] == [0, 0]


@pytest.mark.parametrize(
    ("more", "number"),
    [
        ('kinds = ["trip"]', 0),
        ('buildings = ["B2"]', 0),
        ('severity = "warning"', 0),
        ('kinds = ["low_balance"]\nbuildings = ["B1"]\nseverity = "info"', 1),
    ],
)
async def test_a_channel_gets_what_it_asked_for(
    tmp_path: Path, end: WebEnd, more: str, number: int
) -> None:
    async with watched(tmp_path, channel(tmp_path, end, "wecom", more)) as site:
        await low(site)
        assert await site.alerts.post.say("duty") == number


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((200, b'{"errcode":45009,"errmsg":"planted-token"}'), "refused with code 45009"),
        ((200, b"planted-token"), "another answer than agreed"),
        ((200, b"[" * 9_000), "another answer than agreed"),
        ((302, b""), "status 302"),
        ((500, b"planted-token"), "status 500"),
    ],
)
async def test_a_refusal_is_told_in_words_without_a_secret(
    tmp_path: Path, end: WebEnd, answer: tuple[int, bytes], error: str
) -> None:
    end.answers, end.extra = [answer], f"location: {end.url}/elsewhere"
    async with watched(tmp_path, channel(tmp_path, end, "wecom")) as site:
        assert await site.alerts.test("duty") == error
    assert len(end.got) == 1


async def test_what_is_never_taken_is_tried_by_the_schedule_and_then_given_up_aloud(
    tmp_path: Path, end: WebEnd
) -> None:
    end.answers = [(500, b"")] * (len(SCHEDULE_S) + 1)
    async with watched(
        tmp_path, channel(tmp_path, end, "wecom", 'kinds = ["low_balance"]')
    ) as site:
        await low(site)
        heard = []
        for pause_s in SCHEDULE_S:
            assert await site.alerts.post.say("duty") == 1
            heard.append([(alarm.subject, alarm.reason) for alarm in site.alarms.now()])
            site.house.clock.advance(pause_s - 1)
            assert await site.alerts.post.say("duty") == 0
            site.house.clock.advance(1)
        down = ("alerts/duty", "takes nothing, its alerts wait: status 500")
        assert heard == [[]] * (DOWN_TRIES - 1) + [[down]] * (len(SCHEDULE_S) + 1 - DOWN_TRIES)
        assert await site.alerts.post.say("duty") == 1
        (alarm,) = site.alarms.now()
        assert (alarm.subject, alarm.reason) == (
            "alerts/duty",
            "1 alerts could not be sent: status 500",
        )
        await site.look(500)
        assert await site.alerts.post.say("duty") == 1
        assert site.alarms.now() == []


async def test_a_restart_between_two_tries_sends_the_same_again(
    tmp_path: Path, end: WebEnd
) -> None:
    end.answers = [(500, b"")]
    async with watched(tmp_path, channel(tmp_path, end, "webhook")) as site:
        await low(site)
        await site.alerts.post.say("duty")
        site.restart()
        site.house.clock.advance(SCHEDULE_S[0])
        assert await site.alerts.post.say("duty") == 1
        site.restart()
        assert await site.alerts.post.say("duty") == 0
    assert end.got[0].body == end.got[1].body


async def test_what_waits_for_a_channel_that_is_gone_is_given_up(
    tmp_path: Path, end: WebEnd
) -> None:
    async with watched(tmp_path, channel(tmp_path, end, "wecom")) as site:
        await low(site)
        await site.house.install(policy=PREPAID)
        site.restart()
        await site.alerts.post.forget()
        assert site.alerts.post.counts["no such channel"] == 1


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ('type = "pigeon"', "known: webhook, email"),
        ('type = "wecom"\nurl_file = "open-url"', "chmod 600"),
        ('type = "wecom"\nurl_file = "http-url"', "begins with https://"),
        ('type = "wecom"\nurl = "https://planted"', "url_file"),
        ('type = "wecom"\nurl_file = "duty-url"\nsecret_file = "duty-url"', "no signature"),
        ('type = "wecom"\nurl_file = "duty-url"\nkinds = ["rain"]', "known: low_balance"),
        ('type = "wecom"\nurl_file = "duty-url"\nper_minute = 100', "from 1 to 18"),
        ('type = "webhook"\nurl = "http://10.0.0.1/x"\nsecret_file = "duty-url"', "https://"),
        (
            'type = "email"\nhost = "mail"\ntls = "none"\nfrom = "a@b.c"\nreceivers = ["a@b.c"]',
            "only on this box",
        ),
        (
            'type = "email"\nhost = "mail"\nfrom = "a@b.c\\nBcc: x@y.z"\nreceivers = ["a@b.c"]',
            "duty@example.edu",
        ),
        ("colour = 1", "write a text"),
    ],
)
def test_a_mistake_is_named_with_its_remedy_and_no_secret(
    tmp_path: Path, table: str, found: str
) -> None:
    secret_file(tmp_path, "duty-url", "https://127.0.0.1/planted-token")
    secret_file(tmp_path, "open-url", "https://127.0.0.1/planted-token", 0o644)
    secret_file(tmp_path, "http-url", "http://10.0.0.1/planted-token")
    policy = f"\n[alerts.channels.duty]\n{table}\n"
    folder = write_building(tmp_path / "config", site=SITE + policy)
    with pytest.raises(ConfigErrors) as raised:
        read_alerts(load_site(folder))
    assert "alerts.channels.duty" in str(raised.value)
    assert found in str(raised.value)
    assert "planted-token" not in str(raised.value)


async def test_no_secret_reaches_a_log_a_text_or_the_ledger(
    tmp_path: Path, end: WebEnd, capfd: pytest.CaptureFixture[str]
) -> None:
    end.answers = [(500, b"planted-token"), (200, b'{"errcode":1,"errmsg":"planted-token"}')]
    table = channel(tmp_path, end, "dingtalk")
    async with watched(tmp_path, table) as site:
        await low(site)
        for pause_s in (*SCHEDULE_S, 1):
            await site.alerts.post.say("duty")
            site.house.clock.advance(pause_s)
        rules = read_alerts(site.house.site)
        shown = f"{rules} {site.alarms.now()} {await site.all()}"
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("ledger.db*"))
    for marker in ("planted-token", SECRET):
        assert marker not in shown + "".join(capfd.readouterr())
        assert marker.encode() not in stored
