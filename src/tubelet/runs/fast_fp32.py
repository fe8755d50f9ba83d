"""How a run computes fp32 matrix products: as it began, whichever way the process that goes on with it would choose."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tubelet.errors import ConfigError
from tubelet.runs.folder import FACTS, read_facts
from tubelet.session.fast_fp32 import KEY, PLAIN, FastFp32, fast_fp32, fast_fp32_in_use
from tubelet.session.session import Session

_log = logging.getLogger("tubelet")


@contextmanager
def products_of(folder: Path, session: Session) -> Iterator[None]:
    """Compute as the first run at or below ``folder`` began, so that it resumes to the same bits and a study's runs
    are alike. Runs of versions without a record computed as torch does by itself.

    New runs take the way of this process, or torch's own where the processes of a run have different ones.

    Raises:
        ConfigError: The run began with products that this processor cannot compute.
    """
    begun = next(iter(sorted(folder.rglob(FACTS))), None) if folder.is_dir() else None
    if begun is not None:
        choice = FastFp32.from_record(read_facts(begun.parent).get(KEY))
    else:
        ways = set(session.processes.gather(fast_fp32_in_use())) if session.device.type == "cpu" else {PLAIN}
        choice = ways.pop() if len(ways) == 1 else PLAIN
    if begun is not None and choice != fast_fp32_in_use():
        _log.info("%s: goes on with the fp32 products that it began with", folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(fast_fp32(choice))
        except ConfigError as error:
            raise ConfigError(f"{folder}: began with oneDNN's products; {error}, or start a new run (--out)") from None
        yield
