"""`dormhub`: one command for the daemon, for looking, and for trying a device."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module

import typer

from hub.cli.loading import no_garbage
from hub.errors import ConfigErrors, HubError

EXIT_MISTAKE = 2

# What each word does: the function of a module here, or its group of commands.
_WORDS: Mapping[str, str] = {
    "run": "run:run",
    "demo": "demo:demo",
    "check": "check:check",
    "plan": "inventory:plan",
    "apply": "inventory:apply",
    "read": "read:read",
    "trace": "trace:trace",
    "scan": "scan:scan",
    "verify": "verify:verify",
    "watch": "show:watch",
    "history": "history:history",
    "devices": "show:devices",
    "links": "show:links",
    "health": "show:health",
    "quarantine": "show:quarantine",
    "send": "tell:send",
    "commands": "tell:commands",
    "why": "tell:why",
    "approve": "tell:approve",
    "alarms": "alarms:alarms",
    "fire-reset": "alarms:fire_reset",
    "resolve": "tell:resolve",
    "alerts": "alerts:app",
    "audit": "office:audit_app",
    "keys": "office:keys_app",
    "order": "orders:app",
    "account": "accounts:app",
    "price": "prices:app",
    "share": "share:app",
    "import": "sheets:import_",
    "export": "sheets:export",
    "labels": "labels:labels",
    "credentials": "credentials:app",
    "bindings": "bindings:bindings",
    "bind": "bindings:bind",
    "unbind": "bindings:unbind",
    "use": "use:use",
    "settle": "settle:app",
    "transfer": "settle:transfer_app",
    "reconcile": "reconcile:app",
    "supply": "supply:app",
    "batch": "batch:app",
    "doctor": "doctor:doctor",
    "backup": "backup:backup",
    "restore": "backup:restore",
}


def command_line(first: str = "") -> typer.Typer:
    """All commands; where `first` names one, that one only, so that nothing else has to be loaded."""
    app = typer.Typer(
        help="The device-integration hub of a campus.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(lambda: None)  # one command alone keeps its word
    for word in [first] if first in _WORDS else _WORDS:
        module, name = _WORDS[word].split(":")
        does = getattr(import_module(f"hub.cli.{module}"), name)
        if isinstance(does, typer.Typer):
            app.add_typer(does, name=word)
        else:
            app.command(word)(does)
    return app


def main() -> None:
    """Run the command line; a mistake a person can mend is one line each and exit code 2."""
    try:
        with no_garbage():
            app = command_line(*sys.argv[1:2])
        app()
    except ConfigErrors as errors:
        for error in errors.errors:
            print(f"dormhub: {error}", file=sys.stderr)
        sys.exit(EXIT_MISTAKE)
    except HubError as error:
        print(f"dormhub: {error}", file=sys.stderr)
        sys.exit(EXIT_MISTAKE)


if __name__ == "__main__":
    main()
