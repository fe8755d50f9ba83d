"""The ``tubelet`` command: finds the subcommand, runs it, and turns an error into one line and an exit code.

Exit codes: 0 success, 1 unusable input, 2 a wrong command line, 130 interrupted, 143 terminated, 141 broken pipe (the
codes that a shell gives for SIGINT, SIGTERM and SIGPIPE). 137 is the shell's for SIGKILL, of which no process can say
anything: most often the system ended it because memory ran out.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from tubelet import __version__
from tubelet.errors import Stopped, TubeletError, error_line, is_out_of_memory, memory_line, nearest

# name: (module with ``main(argv: list[str]) -> int``, what the command does). Modules are imported when they run:
# this file, and so ``tubelet --help``, imports no torch.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("tubelet.commands.demo", "make a small video data set, train three models, report"),
    "train": ("tubelet.commands.train", "train a model from a recipe, or on a folder of videos"),
    "pretrain": ("tubelet.commands.pretrain", "pre-train an encoder on footage without labels"),
    "probe": ("tubelet.commands.probe", "train heads on a frozen encoder, for few clips"),
    "compare": ("tubelet.commands.compare", "compare arms with equal tuning, seeds and statistics"),
    "evaluate": ("tubelet.commands.evaluate", "score a checkpoint on a labeled split, with every metric"),
    "features": ("tubelet.commands.features", "store the per-frame features of a dataset, to train on"),
    "predict": ("tubelet.commands.predict", "classify video files, folders or globs; films in windows"),
    "explain": ("tubelet.commands.explain", "where and when a model looked in a clip"),
    "moments": ("tubelet.commands.moments", "find behaviors in films: a label for every frame, and bouts"),
    "suggest": ("tubelet.commands.suggest", "name the stretches of films that are most worth labeling next"),
    "stream": ("tubelet.commands.stream", "classify a pipe, a network address or a camera while it runs"),
    "app": ("tubelet.commands.app", "see and correct what a model finds, in the browser"),
    "data": ("tubelet.commands.data", "scan, prepare and measure footage; read dataset layouts"),
    "models": ("tubelet.commands.models", "list the models with parameters and GMACs"),
    "cost": ("tubelet.commands.cost", "parameters, GMACs, latency and peak memory of one model"),
    "inspect": ("tubelet.commands.inspect", "model, protocol, labels and provenance of a checkpoint"),
    "convert": ("tubelet.commands.convert", "published weights to a checkpoint, and back"),
    "export": ("tubelet.commands.export", "a checkpoint to ONNX, OpenVINO or torch.export, with proof"),
    "merge": ("tubelet.commands.merge", "LoRA adapters and their base to a plain checkpoint"),
    "push": ("tubelet.commands.push", "upload a run or a checkpoint with its model card"),
}

# What takes less memory, by command.
_LESS_MEMORY = {
    "evaluate": "give a smaller --batch-size, fewer --views or --num-workers, or --mode chunked",
    "explain": "use --method occlusion, which holds no gradients, or another device",
    "features": "give fewer --num-workers; what is stored stays, and the same command goes on",
    "probe": "give fewer --data.num_workers; what is stored stays, and the same command goes on",
    "compare": "give fewer --jobs; the same command goes on",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (default: ``sys.argv``) and return the exit code.

    Only a bug in tubelet raises here, and ``SystemExit`` for the help and the usage errors of a subcommand.
    """
    logging.basicConfig(format="tubelet: %(message)s", stream=sys.stderr)
    logging.getLogger("tubelet").setLevel(logging.INFO)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that is not UTF-8 ends no command; in JSON it is \\udcXX
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # so that a closed pipe shows here and not while Python shuts down
        return code
    except Stopped as stop:
        print(f"tubelet: {error_line(stop)}", file=sys.stderr)
        return 128 + stop.signal_number
    except TubeletError as error:
        print(f"tubelet: error: {error_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tubelet: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # What is still buffered has no reader; without this Python would complain once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"tubelet: error: {memory_line(error)}; {_less_memory(argv)}", file=sys.stderr)
        return 1
    except OSError as error:  # no permission, a full disk: the system's words name the file and the reason
        print(f"tubelet: error: {error_line(error)}", file=sys.stderr)
        return 1


def _less_memory(argv: Sequence[str] | None) -> str:
    name = next(iter(sys.argv[1:] if argv is None else argv), "")
    return _LESS_MEMORY.get(name, "use smaller clips, fewer of them at once or fewer processes, or another device")


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"tubelet {__version__}")
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        hint = nearest(name, [*COMMANDS, "--help", "--version"])
        print(f"tubelet: unknown command '{name}'{hint}; see tubelet --help", file=sys.stderr)
        return 2
    module, _ = COMMANDS[name]
    code: int = import_module(module).main(rest)
    return code


def _help() -> str:
    commands = "\n".join(f"  {name:<10}{line}" for name, (_, line) in COMMANDS.items())
    return f"""usage: tubelet COMMAND [options]

Classify video with transformers: train, evaluate and use them.

{commands}

tubelet COMMAND --help  the options of one command, with examples
tubelet --version       the version

exit codes
  0         done
  1         an error; its line says what to do
  2         a wrong command line
  130, 143  stopped by Ctrl-C or SIGTERM; what keeps its work goes on later
  137       killed by the system, most often because memory ran out: use smaller
            batches or clips, or fewer processes; what keeps its work goes on"""
