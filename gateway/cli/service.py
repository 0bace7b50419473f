"""`wagateway service`: the systemd unit for this very installation, written or removed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.exits import FAILED, USAGE, leave

app = typer.Typer(help="Write or remove the systemd unit for this installation.", no_args_is_help=True)

UNIT, SOCKET, SYSUSERS = "wagateway.service", "wagateway.socket", "sysusers.d/wagateway.conf"
_EXEC = re.compile(r"^ExecStart=.*$", re.MULTILINE)
_MARK = "# Written by `wagateway service install`; sha256 of what follows: "
_HIDDEN = ("/home", "/root", "/run/user")           # from a unit with ProtectHome=yes
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and print the unit.")]
User = Annotated[bool, typer.Option("--user", help="A service of this user (systemctl --user), not of the system.")]
Root = Annotated[Path, typer.Option(hidden=True, help="Where the file system begins, for images and tests.")]


@dataclass(frozen=True, slots=True)
class Places:
    """Where files go. `home` is the user's configuration folder."""

    root: Path
    user: bool

    def of(self, name: str) -> Path:
        if self.user:
            base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
            return self.root / Path(base, "systemd/user", name).relative_to("/")
        folder = "etc" if name.startswith("sysusers.d") else "etc/systemd/system"
        return self.root / folder / name

    @property
    def systemctl(self) -> str:
        return "systemctl --user" if self.user else "systemctl"


def program() -> str:
    """The absolute path of this installation's `wagateway`: beside the interpreter in a venv, which pipx uses too.
    Exits when there is none."""
    beside = Path(sys.executable).parent / "wagateway"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("wagateway")
    if found is None:
        leave(FAILED, f"there is no program wagateway beside {sys.executable}: install the gateway with pip or pipx first.")
    return os.path.abspath(found)


def unit_text(name: str, exec_start: str) -> str:
    text = resources.files("gateway.cli").joinpath("systemd", name).read_text("utf-8")
    # systemd's own quoting: % begins a specifier, and blanks separate; variables are not expanded in a program's path.
    quoted = exec_start.replace("%", "%%")
    if re.search(r"[\s\"'\\]", quoted):
        quoted = '"' + quoted.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _signed(_EXEC.sub(lambda _: f"ExecStart={quoted} serve", text))


def _files(user: bool, socket: bool, exec_start: str) -> dict[str, str]:
    files = {UNIT: unit_text("wagateway.user.service" if user else UNIT, exec_start)}
    if socket and not user:
        files |= {SOCKET: unit_text(SOCKET, exec_start), SYSUSERS: unit_text(SYSUSERS, exec_start)}
    return files


@app.command("install")
def install(
    user: User = False, dry_run: DryRun = False,
    socket: Annotated[bool, typer.Option("--socket", help="Also the socket unit: /run/wagateway.sock for a group.")] = False,
    force: Annotated[bool, typer.Option(help="Replace a unit that was changed by hand.")] = False,
    root: Root = Path("/"),
) -> None:
    """Write the unit. Nothing is started; the next commands are printed. Doing it again changes nothing."""
    if socket and user:
        leave(USAGE, "--socket is for the system service; a user's service can set server.unix_socket.")
    exec_start, places = program(), Places(root, user)
    if not user:
        _check_reachable(exec_start)
    files = _files(user, socket, exec_start)
    changed = [name for name, text in files.items() if _read(places.of(name)) != text]
    foreign = [places.of(name) for name in changed if not _ours(places.of(name))]
    if foreign and not force:
        leave(FAILED, f"{foreign[0]} was not written by this command; put your changes into 'systemctl edit wagateway', "
                      "or use --force to replace it.")
    for name, text in files.items():
        path = places.of(name)
        if name not in changed:
            print(f"unchanged  {path}")
        elif dry_run:
            print(f"would write  {path}\n\n{text}")
        else:
            _write(path, text)
            print(f"wrote  {path}")
    _say_next(places, socket, exec_start)


def _say_next(places: Places, socket: bool, exec_start: str) -> None:
    ctl = places.systemctl
    print("\nNext:")
    if socket:
        print("  systemd-sysusers")
    print(f"  {ctl} daemon-reload")
    print(f"  {ctl} enable --now {'wagateway.socket ' if socket else ''}wagateway")
    print(f"  {ctl} status wagateway")
    if places.user:
        print("  loginctl enable-linger          # so that it runs while you are not logged in")
        print(f"  {exec_start} keys create me --scope admin")
    else:
        print(f"  WAGATEWAY_STATE_DIR=/var/lib/wagateway {exec_start} keys create me --scope admin      # as root")


@app.command("uninstall")
def uninstall(user: User = False, dry_run: DryRun = False, root: Root = Path("/")) -> None:
    """Remove the unit. The state folder, with its sessions and keys, stays."""
    places = Places(root, user)
    ctl = places.systemctl
    paths = [places.of(name) for name in ((UNIT,) if user else (UNIT, SOCKET, SYSUSERS))]
    # What `systemctl enable` made; it cannot take that back once the unit is gone.
    paths += [path.parent / f"{target}.target.wants" / path.name for path in paths
              for target in ("multi-user", "default", "sockets")]
    there = [path for path in paths if path.is_symlink() or path.exists()]
    if not there:
        print("there is no unit to remove")
        return
    for path in there:
        if not dry_run:
            path.unlink()
        print(f"{'would remove' if dry_run else 'removed'}  {path}")
    state = "~/.local/state/wagateway" if user else "/var/lib/wagateway"
    print(f"\nNext:\n  {ctl} stop {'' if user else 'wagateway.socket '}wagateway\n  {ctl} daemon-reload\n"
          f"The state folder stays: {state}. Removing it destroys the sessions' keys; unlink them on the phones first.")


def _check_reachable(exec_start: str) -> None:
    """The unit's own user sees no home folder: neither the program nor its interpreter may be in one."""
    for path in (exec_start, os.path.realpath(sys.executable), sys.base_prefix):
        for hidden in _HIDDEN:
            if path.startswith(hidden + "/"):
                leave(FAILED, f"{path} is in {hidden}, which the system service cannot see. Install the gateway outside of it, "
                              "with a Python that is not in it either, as in /opt/wagateway (docs/install.md); or use --user.")


def _signed(body: str) -> str:
    """With a first line by which a later version knows that nobody changed it by hand."""
    return f"{_MARK}{hashlib.sha256(body.encode()).hexdigest()}\n{body}"


def _ours(path: Path) -> bool:
    """Missing, or as some version of this command wrote it."""
    text = _read(path)
    return text is None or text == _signed(text.partition("\n")[2])


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        leave(FAILED, f"cannot read {path}: {error.strerror}")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".new")
        new.write_text(text, "utf-8")
        new.chmod(0o644)
        new.replace(path)
    except OSError as error:
        leave(FAILED, f"cannot write {path}: {error.strerror}" + (" (try sudo, or --user)" if os.geteuid() else ""))
