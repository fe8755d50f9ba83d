"""Libraries that report their use to their makers do not do so under tubelet.

OpenVINO and nncf report through the package ``openvino_telemetry`` and do without it where it cannot be imported.
Ray asks its environment (https://docs.ray.io/en/latest/cluster/usage-stats.html). Both ask at import.
"""

from __future__ import annotations

import os
import sys


def disable_telemetry() -> None:
    """Stop OpenVINO, nncf and Ray from sending usage data, in this process and in those that it starts.

    Call it before the first import of one of them; afterwards it has no effect on what is imported already.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes the import fail
    os.environ["NNCF_CI"] = "1"  # nncf's own switch, for processes that a worker starts
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
