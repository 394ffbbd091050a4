"""What the loader says of each kind of mistake in a profile's commands, settings and gates."""

from __future__ import annotations

import pytest

from hub import (
    ConfigError,
    ConfigErrors,
    Expect,
    Hazard,
    Offline,
    Profile,
    Repeat,
    argument_mistake,
)
from hub.profile_file import ProfileFile, read_profile
from hub.rise import Rise

HEAD = 'name = "A"\nmaker = "M"\nkind = "k"\nprotocol = "modbus"\n'
POINTS = """[points]
relay_1 = { at = 0 }
credit_money = { at = 1 }
purchase_count = { at = 2 }
power_limit = { at = 3 }
order = { at = 4 }
washer_state = { at = 5 }
"""
GATE_POINTS = "gate_state = { at = 6 }\ngate_mode = { at = 7 }\nlimit_closed = { at = 8 }\n"
GATE = """[settings]
fail_mode = { required = true, choices = ["open", "closed"], meaning = "without power" }
egress = { required = true, choices = [true, false] }
open_limit_s = { required = true, minimum = 5, maximum = 600 }
"""
CUT = {
    "meaning": '"open the relay"',
    "confirm": '[{ point = "relay_1", equals = false }]',
    "repeat": '"verify"',
}
NUMBER = 'type = "int", maximum = 10'


def read(text: str) -> Profile:
    return read_profile("p", "p.toml", text).example()


def command(**keys: str) -> str:
    """A sound command with some keys exchanged; an empty one is left out."""
    lines = [f"{key} = {value}" for key, value in (CUT | keys).items() if value]
    return "\n[commands.cut]\n" + "\n".join(lines) + "\n"


def mistakes(text: str) -> list[tuple[str, str]]:
    """(key, hint) of every mistake."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    error = caught.value
    errors = error.errors if isinstance(error, ConfigErrors) else (error,)
    assert all(one.file == "p.toml" and one.found for one in errors)
    return [(one.key, one.hint) for one in errors]


def test_a_command_has_the_defaults_of_its_hazard() -> None:
    spec = read(HEAD + POINTS + command(hazard='"cut"')).commands["cut"]
    assert (spec.hazard, spec.repeat, spec.offline) == (Hazard.CUT, Repeat.VERIFY, Offline.REFUSE)
    assert (spec.deadline_s, spec.confirm_s, spec.confidence) == (60.0, 10.0, "high")


@pytest.mark.parametrize(
    ("hazard", "deadline_s"), [("open", 5.0), ("start", 30.0), ("cut", 60.0), ("credit", 600.0)]
)
def test_deadlines_are_short_where_people_wait(hazard: str, deadline_s: float) -> None:
    text = HEAD + GATE + POINTS + command(hazard=f'"{hazard}"', repeat='"never"')
    assert read(text).commands["cut"].deadline_s == deadline_s


def test_a_command_is_as_certain_as_its_profile_unless_it_says_otherwise() -> None:
    text = HEAD + 'confidence = "medium"\n' + POINTS
    assert read(text + command()).commands["cut"].confidence == "medium"
    assert read(text + command(confidence='"low"')).commands["cut"].confidence == "low"


def test_the_protocol_s_own_keys_are_kept_for_its_driver() -> None:
    spec = read(HEAD + POINTS + command(writes="[{ at = 1 }]")).commands["cut"]
    assert spec.where == {"writes": [{"at": 1}]}


COMMAND_MISTAKES = [
    ({"meaning": ""}, "commands.cut.meaning", "text in quotes"),
    ({"repeat": ""}, "commands.cut.repeat", "text in quotes"),
    ({"repeat": '"always"'}, "commands.cut.repeat", "verify, safe, never"),
    ({"hazard": '"boom"'}, "commands.cut.hazard", "open, close"),
    ({"hazard": '"start"'}, "commands.cut.repeat", "never"),
    ({"hazard": '"open"'}, "commands.cut.repeat", "never"),
    ({"hazard": '"close"', "repeat": '"safe"'}, "commands.cut.repeat", "never or verify"),
    ({"hazard": '"credit"', "repeat": '"safe"'}, "commands.cut.repeat", "never or verify"),
    ({"hazard": '"credit"'}, "commands.cut.arguments", "purchase_count"),
    ({"confirm": ""}, "commands.cut.confirm", "which reading proves it"),
    ({"confirm": '"seen"'}, "commands.cut.confirm", "list of tables"),
    ({"confirm": '[{ point = "relay_9", equals = true }]'}, "confirm[0].point", "of this profile"),
    ({"confirm": '[{ point = "voltage_l1", equals = 1 }]'}, "confirm[0].point", "of this profile"),
    ({"confirm": '[{ point = "relay_1" }]'}, "commands.cut.confirm[0]", "one_of"),
    (
        {"confirm": '[{ point = "relay_1", equals = true, one_of = [true] }]'},
        "commands.cut.confirm[0]",
        "equals = … or one_of",
    ),
    ({"confirm": '[{ point = "relay_1", equals = 0 }]'}, "confirm[0]", "relay_1 is bool"),
    ({"confirm": '[{ point = "power_limit", equals = true }]'}, "confirm[0]", "is float"),
    ({"confirm": '[{ point = "washer_state", equals = "runs" }]'}, "confirm[0]", "idle, reserved"),
    ({"confirm": '[{ point = "relay_1", equals = "@on" }]'}, "confirm[0]", "an argument"),
    ({"confirm": '[{ point = "relay_1", is = true }]'}, "commands.cut.confirm[0]", "equals"),
    (
        {"confirm": '[{ point = "relay_1", equals = true, after = 3 }]'},
        "confirm[0].after",
        "known: point, equals, one_of",
    ),
    (
        {
            "confirm": '[{ point = "relay_1", equals = true }, { point = "relay_1", equals = false }]'
        },
        "confirm[1].point",
        "once",
    ),
    ({"requires": '[{ point = "door", equals = "open" }]'}, "requires[0].point", "this profile"),
    ({"deadline_s": "0"}, "commands.cut.deadline_s", "above 0"),
    ({"confirm_s": "-1"}, "commands.cut.confirm_s", "above 0"),
    ({"offline": '"wait"'}, "commands.cut.offline", "refuse, queue"),
    (
        {"hazard": '"start"', "repeat": '"never"', "offline": '"queue"'},
        "commands.cut.offline",
        "refuse",
    ),
    ({"confidence": '"sure"'}, "commands.cut.confidence", "high, medium, low"),
    ({"note": "4"}, "commands.cut.note", "text in quotes"),
    ({"arguments": "5"}, "commands.cut.arguments", "table"),
    ({"arguments": "{ on = 5 }"}, "commands.cut.arguments.on", "table"),
]


@pytest.mark.parametrize(("keys", "key", "hint"), COMMAND_MISTAKES)
def test_a_mistake_in_a_command_has_its_place_and_remedy(
    keys: dict[str, str], key: str, hint: str
) -> None:
    ((place, remedy),) = mistakes(HEAD + GATE + POINTS + command(**keys))
    assert place.endswith(key)
    assert hint in remedy


AMOUNT = 'amount = { type = "int", unit = "fen", maximum = 500 }'
COUNT = 'count = { type = "int", maximum = 9, from_point = "purchase_count", plus = 1 }'
BALANCE = 'balance = { type = "int", maximum = 500, from_point = "credit_money" }'
ENERGY = 'energy = { type = "int", maximum = 500, from_point = "energy_import" }'
COUNTED = '{ point = "purchase_count", equals = "@count" }'
RISES = '{ point = "credit_money", rises = "@amount", from = "@balance"'
SOLD = POINTS + "energy_import = { at = 9 }\nvoltage_l1 = { at = 11 }\n"


def credit(rises: str, *, confirm: str = COUNTED, repeat: str = "verify") -> str:
    """A credit that is proved by this line beside its count."""
    return (
        HEAD
        + SOLD
        + command(
            arguments=f"{{ {AMOUNT}, {COUNT}, {BALANCE}, {ENERGY} }}",
            confirm=f"[{confirm}, {rises}]",
            hazard='"credit"',
            repeat=f'"{repeat}"',
        )
    )


def test_a_credit_may_be_proved_by_a_balance_that_rises() -> None:
    line = RISES + ', used = "@energy", price_max = 120, alive = "voltage_l1" }'
    spec = read(credit(line)).commands["cut"]
    assert spec.confirm == (Expect(point="purchase_count", values=("@count",)),)
    assert spec.rise == Rise(
        point="credit_money",
        amount="amount",
        balance="balance",
        energy="energy",
        counter="energy_import",
        price_max=120.0,
        alive="voltage_l1",
    )
    assert spec.count is not None
    assert spec.count.name == "count"
    assert spec.proofs == {"purchase_count", "credit_money", "energy_import", "voltage_l1"}


def test_where_no_highest_price_is_named_no_tariff_asks_as_much() -> None:
    rise = read(credit(RISES + " }")).commands["cut"].rise
    assert rise is not None
    assert (rise.price_max, rise.energy, rise.alive) == (500.0, "", "")


RISE_MISTAKES = [
    ('{ point = "power_limit", rises = "@amount", from = "@balance" }', "[1].point", "a balance"),
    ('{ point = "credit_energy", rises = "@amount", from = "@balance" }', "[1].point", "profile"),
    ('{ point = "credit_money", rises = "amount", from = "@balance" }', "[1].rises", '"@name"'),
    ('{ point = "credit_money", rises = "@much", from = "@balance" }', "[1].rises", '"@name"'),
    ('{ point = "credit_money", rises = "@count", from = "@balance" }', "[1].rises", "in fen"),
    ('{ point = "credit_money", rises = "@amount" }', "[1].from", "text in quotes"),
    ('{ point = "credit_money", rises = "@amount", from = "@count" }', "[1].from", "credit_money"),
    (RISES + ', used = "@balance" }', "[1].used", "energy counter"),
    (RISES + ', used = "energy" }', "[1].used", '"@name"'),
    (RISES + ", price_max = 0 }", "[1].price_max", "above 0"),
    (RISES + ', alive = "pulse" }', "[1].alive", "of this profile"),
    (RISES + ", equals = 5 }", "[1].equals", "known: point, rises, from"),
    (RISES + " }, " + RISES + " }", "cut.confirm", "one line with rises"),
]


@pytest.mark.parametrize(("line", "key", "hint"), RISE_MISTAKES)
def test_a_mistake_in_what_rises_has_its_place_and_remedy(line: str, key: str, hint: str) -> None:
    ((place, remedy),) = mistakes(credit(line))
    assert place.endswith(key)
    assert hint in remedy


def test_a_balance_that_rises_proves_nothing_without_the_count_and_a_look() -> None:
    line = RISES + " }"
    other = '{ point = "relay_1", equals = true }'
    assert mistakes(credit(line, confirm=other))[0][0] == "commands.cut.confirm"
    assert mistakes(credit(line, repeat="never"))[0][0] == "commands.cut.repeat"


ARGUMENT_MISTAKES = [
    ('type = "number"', ".type", "bool, int, float, text"),
    ("maximum = 5", ".type", "text in quotes"),
    ('type = "int"', ".maximum", "highest value"),
    (f"{NUMBER}, minimum = 11", ".minimum", "below maximum"),
    ('type = "int", maximum = 1e300', ".minimum", "below maximum"),
    (f"{NUMBER}, scale = 0", ".scale", "above 0"),
    (f"{NUMBER}, scale = -1", ".scale", "above 0"),
    ('type = "text", scale = 2', ".scale", "a text has none"),
    ('type = "bool", maximum = 1', ".minimum", "true or false has none"),
    ('type = "text", maximum = 300', ".minimum", "below maximum"),
    (f'{NUMBER}, choices = ["a"]', ".choices", "only a text"),
    (f"{NUMBER}, default = 11", ".default", "from 0 to 10"),
    (f"{NUMBER}, default = 1.5", ".default", "whole number"),
    (f"{NUMBER}, scale = 4, default = 6", ".default", "a multiple of 4"),
    ('type = "bool", default = "on"', ".default", "true or false"),
    ('type = "text", choices = ["a"], default = "b"', ".default", "one of a"),
    ('type = "text", minimum = 2, default = "b"', ".default", "2 to 256 printable"),
    (f'{NUMBER}, from_point = "voltage_l1"', ".from_point", "a point of this profile"),
    (f'{NUMBER}, from_point = "power_limit"', ".from_point", "whole number"),
    ('type = "text", from_point = "order"', ".from_point", "whole number"),
    (f"{NUMBER}, plus = 1", ".plus", "beside from_point"),
    (f'{NUMBER}, from_point = "purchase_count", plus = 0.5', ".plus", "whole number"),
    (f'{NUMBER}, from_point = "purchase_count", default = 1', ".default", "leave default out"),
    (f"{NUMBER}, step = 2", ".step", "known: type, unit"),
]


@pytest.mark.parametrize(("keys", "key", "hint"), ARGUMENT_MISTAKES)
def test_a_mistake_in_an_argument_has_its_place_and_remedy(keys: str, key: str, hint: str) -> None:
    text = HEAD + POINTS + command(arguments=f"{{ level = {{ {keys} }} }}")
    ((place, remedy),) = mistakes(text)
    assert place == f"commands.cut.arguments.level{key}"
    assert hint in remedy


@pytest.mark.parametrize("name", ["Level", "1st", "id", "expires", "source", "a-b", "x" * 33])
def test_an_argument_s_name_is_a_plain_word_that_the_hub_does_not_use(name: str) -> None:
    text = HEAD + POINTS + command(arguments=f"{{ {name} = {{ {NUMBER} }} }}")
    ((_, remedy),) = mistakes(text)
    assert "a letter first" in remedy


def test_a_command_s_name_is_a_plain_word() -> None:
    ((place, _),) = mistakes(HEAD + POINTS + command().replace("commands.cut", "commands.Cut-off"))
    assert place == "commands.Cut-off"


def test_every_wrong_command_is_told_at_once() -> None:
    second = command(repeat='"often"').replace("commands.cut", "commands.restore")
    found = mistakes(HEAD + POINTS + command(meaning="") + second)
    assert [place for place, _ in found] == ["commands.cut.meaning", "commands.restore.repeat"]


@pytest.mark.parametrize("value", [True, "5", 11, -1, 4.5, float("nan"), 3])
def test_a_value_that_no_argument_takes_is_told_what_would_be_right(value: object) -> None:
    text = (
        HEAD + POINTS + command(arguments="{ level = { type = 'int', maximum = 10, scale = 2 } }")
    )
    argument = read(text).commands["cut"].arguments["level"]
    assert isinstance(value, bool | int | float | str)
    assert argument_mistake(argument, value).startswith("write a")
    assert argument_mistake(argument, 4) == ""


# Settings that a device must say.


def gate_file() -> ProfileFile:
    return read_profile("p", "p.toml", HEAD + GATE + POINTS + GATE_POINTS + opening())


def opening(name: str = "open", **keys: str) -> str:
    given = {
        "confirm": '[{ point = "gate_state", equals = "open" }]',
        "repeat": '"never"',
        "hazard": '"open"',
    }
    return command(**(given | keys)).replace("commands.cut", f"commands.{name}")


def test_a_gate_is_refused_without_fail_mode_egress_and_open_limit() -> None:
    with pytest.raises(ConfigErrors) as caught:
        gate_file().apply({}, place="devices.csv: line 3")
    assert [error.key for error in caught.value.errors] == [
        "settings.fail_mode",
        "settings.egress",
        "settings.open_limit_s",
    ]
    assert {(error.file, error.found) for error in caught.value.errors} == {
        ("devices.csv: line 3", "not given")
    }
    assert caught.value.errors[0].hint == "choose one of open, closed: without power"


def test_a_gate_that_says_everything_is_taken_with_its_values() -> None:
    given = {"fail_mode": "closed", "egress": "false", "open_limit_s": "30"}
    profile = gate_file().apply(given, place="devices.csv: line 3")
    assert profile.chosen == {"fail_mode": "closed", "egress": False, "open_limit_s": 30.0}


@pytest.mark.parametrize(
    ("setting", "value", "hint"),
    [
        ("fail_mode", "ajar", "open, closed"),
        ("egress", "yes", "true or false"),
        ("open_limit_s", "0", "from 5 to 600"),
        ("open_limit_s", "nan", "from 5 to 600"),
    ],
)
def test_a_required_setting_is_checked_as_any_other(setting: str, value: str, hint: str) -> None:
    given = {"fail_mode": "open", "egress": "true", "open_limit_s": "30", setting: value}
    with pytest.raises(ConfigError) as caught:
        gate_file().apply(given, place="devices.csv: line 3")
    assert hint in caught.value.hint


def test_a_profile_alone_is_read_with_first_choices_and_highest_numbers() -> None:
    example = gate_file().example()
    assert example.chosen == {"fail_mode": "open", "egress": True, "open_limit_s": 600.0}


@pytest.mark.parametrize(
    ("keys", "key", "hint"),
    [
        ("required = true, default = 1", "settings.limit.default", "leave it out"),
        ("required = 1, default = 1", "settings.limit.required", "true or false"),
        ("minimum = 1", "settings.limit.default", "required = true"),
        ("required = true, must = 1", "settings.limit.must", "required"),
    ],
)
def test_a_mistake_in_a_setting_has_its_place_and_remedy(keys: str, key: str, hint: str) -> None:
    ((place, remedy),) = mistakes(f"{HEAD}[settings]\nlimit = {{ {keys} }}\n{POINTS}")
    assert place == key
    assert hint in remedy


# Gates.


@pytest.mark.parametrize("hazard", ["open", "close"])
def test_a_profile_with_a_gate_s_command_must_ask_for_its_settings(hazard: str) -> None:
    found = mistakes(HEAD + POINTS + GATE_POINTS + opening(hazard=f'"{hazard}"'))
    names = ["settings.fail_mode", "settings.egress", "settings.open_limit_s"]
    assert [place for place, _ in found] == names
    assert all("required = true" in hint for _, hint in found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("fail_mode", 'fail_mode = { default = "open" }'),
        ("fail_mode", 'fail_mode = { required = true, choices = ["open", "shut"] }'),
        ("egress", 'egress = { required = true, choices = ["yes"] }'),
        ("open_limit_s", "open_limit_s = { required = true, minimum = 1 }"),
    ],
)
def test_a_gate_s_setting_of_the_wrong_kind_is_refused(name: str, text: str) -> None:
    lines = [text if line.startswith(f"{name} =") else line for line in GATE.splitlines()]
    found = mistakes(HEAD + "\n".join(lines) + "\n" + POINTS + GATE_POINTS + opening())
    assert [place for place, _ in found] == [f"settings.{name}"]


HOLDS_CLOSED = [
    opening("hold_closed", hazard='"none"', repeat='"safe"'),
    opening("lock"),
    opening("lockdown"),
    opening("keep_it_closed", hazard='"close"'),
    opening("closed_hold", hazard='"close"'),
    opening("set", hazard='"close"', confirm='[{ point = "gate_mode", equals = "closed" }]'),
    opening("set", hazard='"none"', confirm='[{ point = "gate_state", equals = "locked" }]'),
    opening(
        "set",
        hazard='"close"',
        arguments="{ mode = { type = 'text' } }",
        confirm='[{ point = "gate_mode", equals = "@mode" }]',
    ),
    opening("set", arguments="{ mode = { type = 'text', choices = ['card_both', 'closed'] } }"),
    opening(
        "shut", hazard='"close"', arguments="{ time = { type = 'int', unit = 's', maximum = 60 } }"
    ),
]


@pytest.mark.parametrize("text", HOLDS_CLOSED)
def test_no_command_can_hold_a_gate_closed(text: str) -> None:
    hints = [hint for _, hint in mistakes(HEAD + GATE + POINTS + GATE_POINTS + text)]
    assert any("no command may hold a gate closed" in hint for hint in hints)


def test_what_moves_a_gate_must_say_so() -> None:
    text = opening(
        "mode", hazard='"none"', confirm='[{ point = "gate_mode", equals = "free_both" }]'
    )
    ((place, hint),) = mistakes(HEAD + GATE + POINTS + GATE_POINTS + text)
    assert place == "commands.mode.hazard"
    assert "open" in hint


@pytest.mark.parametrize("name", ["unlock", "open", "release", "set_clock"])
def test_a_name_that_holds_nothing_is_free(name: str) -> None:
    assert name in read(HEAD + GATE + POINTS + GATE_POINTS + opening(name)).commands


def test_what_is_no_gate_may_be_called_closed() -> None:
    text = command(arguments="{ contact = { type = 'text', choices = ['open', 'closed'] } }")
    assert read(HEAD + POINTS + text).commands["cut"].arguments["contact"].choices
