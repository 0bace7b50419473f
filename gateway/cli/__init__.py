"""The command line: one file a family of commands. Errors are one plain sentence on stderr; exit codes are in `exits`."""

from __future__ import annotations

from gateway.cli import starting  # noqa: F401  # first: it says what a signal does from here on

# isort: split
import typer

from gateway.cli import backup, doctor, keys, link, look, sandbox, send, serve, service, vault, version, voice

app = typer.Typer(name="wagateway", no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
                  rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]},
                  help="A self-hosted WhatsApp linked-device gateway.")
serve.add_to(app)
sandbox.add_to(app)
app.command("link")(link.link)
app.command("send")(send.send)
app.command("sessions")(look.sessions)
app.command("messages")(look.messages)
app.command("events")(look.events)
app.command("usage")(look.usage)
app.command("doctor")(doctor.doctor)
app.command("version")(version.version)
app.add_typer(keys.app, name="keys")
app.add_typer(service.app, name="service")
app.add_typer(voice.app, name="voice")
app.add_typer(vault.app, name="vault")
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)


def main() -> None:
    app()
