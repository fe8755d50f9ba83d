"""``tubelet convert``: published weights to a tubelet checkpoint, and a checkpoint back to the formats that hold it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from tubelet import __version__
from tubelet.commands.console import output_console
from tubelet.commands.convert import Options
from tubelet.commands.provenance import mapping_table, parity_text
from tubelet.config import parse_value, to_dict
from tubelet.errors import ConfigError, nearest
from tubelet.files import check_path
from tubelet.weights.checkpoint.checkpoint import Record, save_checkpoint
from tubelet.weights.convert.parity import measure_parity, read_reference
from tubelet.weights.convert.sources import SOURCES, record_of
from tubelet.weights.convert.write import WRITERS
from tubelet.weights.hub import local_folder, parse_hub_name
from tubelet.weights.mapping.converter import Converted, ConvertOptions
from tubelet.weights.open_checkpoint import open_checkpoint


def run(options: Options, overrides: list[tuple[str, str]]) -> int:
    if options.out.exists():
        raise ConfigError(f"{options.out}: is already there; give another OUT, or remove it first")
    check_path(options.out, "OUT", is_written=True)
    if options.source == "tubelet":
        written = way_back(options, overrides)
    else:
        written = convert(options, convert_options(options, overrides))
    if options.json:
        print(json.dumps(written, indent=2, ensure_ascii=False))
    return 0


def convert(options: Options, settings: ConvertOptions) -> dict[str, Any]:
    """Convert foreign weights to a checkpoint or another format, and measure their parity."""
    if options.source not in SOURCES:
        raise ConfigError(f"unknown source '{options.source}'{nearest(options.source, [*SOURCES, 'tubelet'])}")
    source = SOURCES[options.source]
    reference = read_reference(options.reference_input) if options.reference_input else None
    path = local_folder(options.path)  # shows its own progress where it downloads
    with Console(stderr=True).status("reading and mapping") as status:
        converted = source.convert(path, settings)
        parity: dict[str, Any] = {"measured": False, "reason": "--no-measure"}
        if options.measure:
            status.update("comparing the logits with the original's (--no-measure leaves this out)")
            parity = measure_parity(converted, source, path, reference, options.tolerance)
        status.update("writing")
        record = dataclasses.replace(record_of(converted), provenance=provenance_of(options, path, converted, parity))
        notes = write(options, converted.model, record)
    report(options, converted, parity, notes)
    return to_dict(record) | {"out": str(options.out), "notes": notes}


def way_back(options: Options, overrides: list[tuple[str, str]]) -> dict[str, Any]:
    """Convert a checkpoint of tubelet to another format."""
    if options.to == "tubelet":
        raise ConfigError("PATH is a tubelet checkpoint already: give --to huggingface or --to scenic")
    unused = {
        "--which": options.which,
        "--labels": options.labels or None,
        "--reference-input": options.reference_input,
        "overrides": overrides or None,
    }
    for name, value in unused.items():
        if value is not None:
            raise ConfigError(f"{name} has no meaning on the way back: the checkpoint holds model, protocol and labels")
    model, record = open_checkpoint(options.path)
    notes = WRITERS[options.to](model, record, options.out)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"written: {options.out} ({options.to})", file=sys.stderr)
    return {"out": str(options.out), "format": options.to, "notes": notes}


def write(options: Options, model: nn.Module, record: Record) -> list[str]:
    """Write OUT and return what it cannot hold as notes."""
    if options.to != "tubelet":
        return WRITERS[options.to](model, record, options.out)
    save_checkpoint(options.out, model, record)
    return []


def convert_options(options: Options, overrides: list[tuple[str, str]]) -> ConvertOptions:
    """Parse labels, model and protocol fields of the command line.

    Raises:
        ConfigError: an option that is none of these, or a list of labels that cannot be read.
    """
    groups: dict[str, dict[str, Any]] = {"model": {}, "protocol": {}}
    for key, text in overrides:
        group, _, name = key.partition(".")
        if group not in groups or not name:
            raise ConfigError(f"unknown option --{key}; expected --model.FIELD or --protocol.FIELD")
        groups[group][name] = parse_value(text)
    return ConvertOptions(labels=read_labels(options.labels), which=options.which, **groups)


def read_labels(given: Sequence[str]) -> tuple[str, ...] | dict[str, tuple[str, ...]] | None:
    """Read the class names of one file, or of one file for each head.

    Raises:
        ConfigError: a file that cannot be read, or several that do not all say their head.
    """
    if not given:
        return None
    if len(given) == 1 and ("=" not in given[0] or Path(given[0]).exists()):
        return _names(Path(given[0]))
    parts = [text.partition("=") for text in given]
    if not all(head and equals for head, equals, _ in parts) or len({head for head, _, _ in parts}) < len(parts):
        raise ConfigError(f"--labels {' '.join(given)}: expected one FILE, or HEAD=FILE for each head")
    return {head: _names(Path(file)) for head, _, file in parts}


def _names(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--labels {file}: cannot be read ({error})") from None
    return tuple(line.strip() for line in lines if line.strip())


def provenance_of(options: Options, path: Path, converted: Converted, parity: dict[str, Any]) -> dict[str, Any]:
    """The converter's own provenance, with where the weights were read and what was measured."""
    name = parse_hub_name(options.path)
    origin = options.path if name is None else f"hf://{name.repo}@{path.name}"
    return {**converted.provenance, "path": origin, "parity": parity, "converted_by": f"tubelet {__version__}"}


def report(options: Options, converted: Converted, parity: dict[str, Any], notes: list[str]) -> None:
    """Print the mapping as a table on stdout, and labels, license, notes and parity on stderr."""
    provenance = converted.provenance
    if not options.json:
        output_console().print(mapping_table(provenance["mapping"]))
    all_notes = [
        *provenance.get("model_notes", ()),
        *provenance.get("protocol_notes", ()),
        *converted.report.notes,
        *notes,
    ]
    lines = [f"note: {note}" for note in all_notes]
    lines.append(f"labels: {provenance['labels_from']}")
    lines.append(f"license: {provenance['license']}")
    lines.append(f"parity: {parity_text(parity)}")
    lines.append(f"written: {options.out} ({converted.name})")
    print("\n".join(lines), file=sys.stderr)
