"""The `xcot` command: finds the sub-command, reads its options, and says what went wrong."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
from collections.abc import Sequence
from typing import Any

from xcot_jax import __version__, signals
from xcot_jax.commands import COMMANDS, Command
from xcot_jax.files import any_path

_CONFIG_HELP = "config file (.py, or a saved .json); FILE.py:VARIANT takes one of its VARIANTS"


class _SettingsHelp(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        from xcot_jax.config import describe

        parser.print_help()
        print(f"\nsettings (--config.KEY=VALUE):\n{describe()}")
        parser.exit()


def _parser(name: str, command: Command) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        f"xcot {name}",
        description=command.summary,
        add_help=not command.configured,
        allow_abbrev=False,
    )
    if command.configured:
        parser.add_argument(
            "-h", "--help", nargs=0, action=_SettingsHelp, help="show this and every setting"
        )
        parser.add_argument("--config", type=any_path, metavar="FILE", help=_CONFIG_HELP)
        parser.epilog = "--config.KEY=VALUE changes any setting; it beats the file"
    command.arguments(parser)
    return parser


def _overview() -> str:
    rows = "\n".join(f"  {name:<12}{command.summary}" for name, command in COMMANDS.items())
    return (
        "usage: xcot COMMAND ...\n\n"
        "Cross-lingual chain-of-thought instruction tuning and distillation in one pass.\n\n"
        f"commands:\n{rows}\n\nxcot COMMAND --help lists its options and every setting."
    )


def run(arguments: Sequence[str]) -> None:
    """Runs one sub-command.

    Raises:
      InputError: for bad input, with all a user needs in its message.
    """
    from xcot_jax.errors import InputError

    name, *rest = arguments
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(COMMANDS)}"
        raise InputError(f"no command {name!r}{hint}")
    command = COMMANDS[name]
    parser = _parser(name, command)
    options, others = parser.parse_known_args(rest)
    strange = [o for o in others if not (command.configured and o.startswith("--config."))]
    if strange:
        known = [s for action in parser._actions for s in action.option_strings]
        near = difflib.get_close_matches(strange[0].partition("=")[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        apart = [o for o in others if o.startswith("--config.") and "=" not in o]
        if apart:
            hint = f"; a setting and its value are one argument: {apart[0]}=VALUE"
        parser.error(f"unknown argument {strange[0]}{hint}")
    # Signals come before all else, as imports alone take seconds.
    with signals.Stop() if command.stops else contextlib.nullcontext() as options.stop:
        if command.hosts:
            from xcot_jax import distributed

            distributed.initialize()
        command.run(options, others)


def _end_other_processes(error: BaseException, status: int) -> None:
    """Where there are any, which would wait for this one for ever."""
    if distributed := sys.modules.get("xcot_jax.distributed"):
        distributed.fail(error, status)


def main() -> None:
    """The console entry point: bad input ends in one message and status 2, not a traceback."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return
    if arguments[0] in ("-V", "--version"):
        print(f"xcot-jax {__version__}")
        return
    from xcot_jax.errors import InputError

    try:
        run(arguments)
    except BrokenPipeError:  # The reader, such as head, has had enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (InputError, OSError) as error:
        if os.environ.get("XCOT_TRACEBACK"):
            raise
        print(f"xcot: error: {error}", file=sys.stderr)
        _end_other_processes(error, 2)
        raise SystemExit(2) from None
    except KeyboardInterrupt as error:
        print("xcot: interrupted", file=sys.stderr)
        _end_other_processes(error, 130)
        raise SystemExit(130) from None
    except Exception as error:
        _end_other_processes(error, 1)
        raise


if __name__ == "__main__":
    main()
