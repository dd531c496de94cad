"""From a command line to the subcommand, and from what it raises to an exit code.

Only the module of the subcommand that was called is imported: `eyespot --help` and the
commands that talk to a server need neither PyTorch nor ONNX Runtime.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from eyespot.cli.errors import FAILURE, INTERRUPTED, USAGE, CommandError, tell_error


class Subcommand(NamedTuple):
    """One subcommand.

    Attributes:
        module: Has `add_arguments(parser)` and `run(options) -> exit code`.
        summary: One line for the list.
        extra: Of the distribution, that installs what the command imports.
        epilog: What the command's help ends with.
    """

    module: str
    summary: str
    extra: str = ""
    epilog: str = ""


SUBCOMMANDS = {
    "models": Subcommand("eyespot.cli.models", "list the networks of the zoo", "export"),
    "train": Subcommand("eyespot.cli.train", "train a network of the zoo", "transfer"),
    "finetune": Subcommand(
        "eyespot.cli.finetune", "teach a trained network other pictures, and export it", "transfer"
    ),
    "export": Subcommand(
        "eyespot.cli.export", "export a network to a model repository, with proof", "export"
    ),
    "add": Subcommand("eyespot.cli.add", "add an ONNX file made elsewhere", "export"),
    "inspect": Subcommand(
        "eyespot.cli.inspect", "describe a network layer by layer, or a repository entry", "export"
    ),
    "compare": Subcommand(
        "eyespot.cli.compare", "put networks side by side: cost, speed, error", "export"
    ),
    "evaluate": Subcommand(
        "eyespot.cli.evaluate", "measure a model on pictures whose classes are known", "export"
    ),
    "check": Subcommand(
        "eyespot.cli.check",
        "check hashes and parity of a repository, a model or a version",
        "export",
    ),
    "quantize": Subcommand(
        "eyespot.cli.quantize", "make an INT8 version, calibrated on pictures", "export"
    ),
    "convert": Subcommand(
        "eyespot.cli.convert", "make a version in half precision, or with INT8 weights", "export"
    ),
    "optimize": Subcommand(
        "eyespot.cli.optimize", "fold and fuse a graph ahead, for a fast start", "export"
    ),
    "serve": Subcommand("eyespot.cli.serve", "serve a repository over gRPC", "serve"),
    "tune": Subcommand(
        "eyespot.cli.tune",
        "find how a model is run best on this machine, and write it down",
        "serve,export",
        epilog="The exit code is 1 where no setting answers in time.",
    ),
    "status": Subcommand(
        "eyespot.cli.status",
        "show what a server serves, and how it does",
        "watch",
        epilog="The exit code is 1 unless the server and every model are ready.",
    ),
    "infer": Subcommand("eyespot.cli.infer", "classify pictures"),
    "segment": Subcommand("eyespot.cli.segment", "draw what is where in pictures"),
    "embed": Subcommand("eyespot.cli.embed", "tell how far apart pictures are"),
    "explain": Subcommand("eyespot.cli.explain", "draw which pixels decided"),
    "methods": Subcommand("eyespot.cli.methods", "list the saliency methods of a model"),
    "evaluate-saliency": Subcommand(
        "eyespot.cli.evaluate_saliency",
        "measure how faithful explanations are, without a server",
        "serve,explain,export",
    ),
    "demo": Subcommand(
        "eyespot.cli.demo", "train, export, serve, infer and explain", "serve,explain,transfer"
    ),
}

_EXIT_CODES = """\
exit codes:
  0    done
  1    failed: a file, a model or a check is at fault, or the server refused
  2    the command line is wrong
  3    the server cannot be reached, or does not answer in time
  130  interrupted
"""

# What the extras install. A module that is missing and not in here is a fault of ours.
_THIRD_PARTY = frozenset(
    {
        "grpc_health",
        "grpc_reflection",
        "matplotlib",
        "onnx",
        "onnxruntime",
        "onnxscript",
        "rich",
        "safetensors",
        "sklearn",
        "torch",
        "torchvision",
    }
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, and return its exit code."""
    # gRPC's C code, once it is loaded, tells on stderr of each connection that ends.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = next((word for word in arguments if not word.startswith("-")), None)
    try:
        return _run(arguments, name)
    except CommandError as error:
        tell_error(str(error))
        return error.exit_code
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if name is None or missing not in _THIRD_PARTY:
            raise
        tell_error(
            f"`eyespot {name}` needs {missing}, which is not installed: "
            f"pip install 'eyespot[{SUBCOMMANDS[name].extra}]'"
        )
        return FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our output has gone, such as `head`; Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE


def _run(arguments: list[str], name: str | None) -> int:
    parser = _parser()
    chosen = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    module, asked = None, parser  # of whom the usage is shown
    # Each takes time to declare, and only a list of them shows the others.
    is_alone = name in SUBCOMMANDS and arguments[0] == name
    declared = {name: SUBCOMMANDS[name]} if name and is_alone else SUBCOMMANDS
    for each, subcommand in declared.items():
        subparser = chosen.add_parser(
            each,
            help=subcommand.summary,
            description=f"{subcommand.summary[0].upper()}{subcommand.summary[1:]}.",
            epilog=subcommand.epilog,
            allow_abbrev=False,  # half an option is a slip, and its meaning may change
        )
        if each == name:
            module = importlib.import_module(subcommand.module)
            module.add_arguments(subparser)
            asked = subparser
    try:
        if name is not None and name not in SUBCOMMANDS:
            parser.error(_unknown(name))
        options, unknown = parser.parse_known_args(arguments)
        if unknown:
            asked.error(_unrecognized(unknown, asked))
    except SystemExit as end:  # argparse has said why
        return int(end.code or 0)
    if module is None:
        parser.print_help(sys.stderr)
        return USAGE
    exit_code: int = module.run(options)
    sys.stdout.flush()
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eyespot",
        description="Export convolutional networks, serve them, and see which pixels decided.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    return parser


class _Version(argparse.Action):
    """Looks the version up where it is asked for: that takes longer than a small command."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib import metadata

        print(f"eyespot {metadata.version('eyespot')}")
        parser.exit()


def _unknown(name: str) -> str:
    there = ", ".join(SUBCOMMANDS)
    return f"there is no command {name!r} among {there}{_meant(name, SUBCOMMANDS)}"


def _unrecognized(words: Sequence[str], parser: argparse.ArgumentParser) -> str:
    known = [option for action in parser._actions for option in action.option_strings]
    word = next((word for word in words if word.startswith("-")), "").partition("=")[0]
    # The dashes are alike in all of them.
    meant = _meant(word.strip("-"), [option.strip("-") for option in known], dashes="--")
    return f"unrecognized arguments: {' '.join(words)}{meant}"


def _meant(word: str, known: Iterable[str], *, dashes: str = "") -> str:
    import difflib  # not for every start

    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {dashes + nearest[0]!r}?" if nearest else ""
