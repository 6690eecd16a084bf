"""`celery … flower`: on this machine alone and with a password, unless somebody says otherwise.

Flower takes its options from FLOWER_… variables, which the command line and its configuration file overrule: so what
is said here is said in these."""

import os
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

_USER = "node"
_OPTIONS = ("address", "unix_socket", "basic_auth", "auth", "conf")
_ASSIGNED = re.compile(rf"^({'|'.join(_OPTIONS)})\s*=", re.MULTILINE)


def guard() -> None:
    """Does so when this process is Flower's; a password that nobody chose is told on stderr."""
    command = click.get_current_context(silent=True)
    if command is None or command.invoked_subcommand != "flower":
        return
    given = _given(os.environ, sys.argv)
    if not given & {"address", "unix_socket"}:
        os.environ["FLOWER_ADDRESS"] = "127.0.0.1"
    if not given & {"basic_auth", "auth"}:
        password = secrets.token_urlsafe(18)
        os.environ["FLOWER_BASIC_AUTH"] = f"{_USER}:{password}"
        sys.stderr.write(
            f"Flower lets in the user {_USER} with the password {password}\n"
            "To choose another set FLOWER_BASIC_AUTH=user:password.\n"
        )


def _given(environment: Mapping[str, str], arguments: Sequence[str]) -> set[str]:
    """The options that somebody set: in the environment (an empty variable is an unset one), on the command line, or in
    Flower's configuration file."""
    values = {name: value for name in _OPTIONS if (value := environment.get(f"FLOWER_{name.upper()}"))}
    for argument in arguments:
        name, is_set, value = argument.lstrip("-").partition("=")
        if is_set and argument.startswith("-") and name.replace("-", "_") in _OPTIONS:
            values[name.replace("-", "_")] = value
    file = Path(values.get("conf", "flowerconfig.py"))
    return values.keys() | set(_ASSIGNED.findall(file.read_text() if file.is_file() else ""))
