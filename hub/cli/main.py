"""`dormhub`: one command for the daemon, for looking, and for trying a device."""

from __future__ import annotations

import sys

import typer

from hub.cli import (
    accounts,
    alarms,
    alerts,
    backup,
    batch,
    bindings,
    check,
    credentials,
    demo,
    doctor,
    history,
    inventory,
    labels,
    office,
    orders,
    prices,
    read,
    reconcile,
    run,
    scan,
    settle,
    share,
    sheets,
    show,
    supply,
    tell,
    trace,
    use,
    verify,
)
from hub.errors import ConfigErrors, HubError

EXIT_MISTAKE = 2

app = typer.Typer(
    help="The device-integration hub of a campus.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("check")(check.check)
app.command("plan")(inventory.plan)
app.command("apply")(inventory.apply)
app.command("read")(read.read)
app.command("trace")(trace.trace)
app.command("scan")(scan.scan)
app.command("verify")(verify.verify)
app.command("watch")(show.watch)
app.command("history")(history.history)
app.command("devices")(show.devices)
app.command("links")(show.links)
app.command("health")(show.health)
app.command("quarantine")(show.quarantine)
app.command("send")(tell.send)
app.command("commands")(tell.commands)
app.command("why")(tell.why)
app.command("approve")(tell.approve)
app.command("alarms")(alarms.alarms)
app.command("fire-reset")(alarms.fire_reset)
app.command("resolve")(tell.resolve)
app.add_typer(alerts.app, name="alerts")
app.add_typer(office.audit_app, name="audit")
app.add_typer(office.keys_app, name="keys")
app.add_typer(orders.app, name="order")
app.add_typer(accounts.app, name="account")
app.add_typer(prices.app, name="price")
app.add_typer(share.app, name="share")
app.command("import")(sheets.import_)
app.command("export")(sheets.export)
app.command("labels")(labels.labels)
app.add_typer(credentials.app, name="credentials")
app.command("bindings")(bindings.bindings)
app.command("bind")(bindings.bind)
app.command("unbind")(bindings.unbind)
app.command("use")(use.use)
app.add_typer(settle.app, name="settle")
app.add_typer(settle.transfer_app, name="transfer")
app.add_typer(reconcile.app, name="reconcile")
app.add_typer(supply.app, name="supply")
app.add_typer(batch.app, name="batch")
app.command("doctor")(doctor.doctor)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)


def main() -> None:
    """Run the command line; a mistake a person can mend is one line each and exit code 2."""
    try:
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
