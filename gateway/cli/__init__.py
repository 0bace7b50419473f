"""The command line: one file a family of commands. Errors are one plain sentence on stderr; exit codes are in `exits`."""

from __future__ import annotations

import typer

from gateway.cli import keys, sandbox, serve

app = typer.Typer(name="wagateway", no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
                  rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]},
                  help="A self-hosted WhatsApp linked-device gateway.")
serve.add_to(app)
sandbox.add_to(app)
app.add_typer(keys.app, name="keys")


def main() -> None:
    app()
