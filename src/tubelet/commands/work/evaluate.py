"""``tubelet evaluate``: scores a checkpoint on a labeled split, with the code that training validates with."""

from __future__ import annotations

import json
import sys

from tubelet.api.evaluate import EvaluationOptions, score_checkpoint
from tubelet.api.evaluate_shared import score_shard
from tubelet.commands.evaluate import Options
from tubelet.errors import ConfigError
from tubelet.evaluation.evaluate import Evaluation
from tubelet.files import check_path
from tubelet.inference.predictor import load
from tubelet.protocol import with_views
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.shards import Shard


def run(options: Options) -> int:
    Shard.parse(options.shard)
    if options.shard is not None and options.out is None:
        raise ConfigError("--shard belongs to --out, where calls leave their parts; give a folder that all of them see")
    if options.out is not None:
        check_path(options.out, is_written=True)
    classifier = load(options.checkpoint, options.device, precision=options.precision, reject=options.reject)
    protocol = with_views(options.protocol.applied_to(classifier.protocol), options.views)
    asked = EvaluationOptions(
        split=options.split,
        averaging=options.averaging,
        manifest=options.columns.applied_to(options.manifest),
        mode=options.mode,
        batch_size=options.batch_size,
        num_workers=options.num_workers,
        decode_timeout_seconds=options.decode_timeout_seconds,
        failure_budget=options.failure_budget,
    )
    with ConsoleProgress("evaluate") as progress:
        classifier = classifier.with_protocol(protocol)
        result: Evaluation | str
        if options.shard is not None and options.out is not None:
            shard = Shard.parse(options.shard)
            result = score_shard(classifier, options.data, asked, progress, options.out, shard)
        else:
            result = score_checkpoint(classifier, options.data, asked, progress, options.out)
    if isinstance(result, str):
        print(f"tubelet: {result}", file=sys.stderr)
        return 0
    print(json.dumps(result.to_dict(), indent=2) if options.json else f"{result.scored}\n{result.summary}")
    if options.reject and not options.json:
        print(result.rejection_text)
    return 0
