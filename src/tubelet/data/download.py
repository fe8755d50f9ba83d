"""Downloads files completely: resumes after a break, checks the checksum, then moves the file to its name.

The part that has arrived lies beside the target as ``NAME.part``. No redirect or response is trusted: a file that does
not have the published checksum is never moved to its name.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from tubelet.errors import DataError

TIMEOUT_SECONDS = 10.0  # after so long without a byte the source counts as out of reach
_CHUNK_BYTES = 2**20

OnBytes = Callable[[int, int], None]  # (bytes that have arrived, bytes in all; 0 if unknown)


def file_md5(path: Path) -> str:
    """The MD5 of a file in hexadecimal, which the sources publish. It finds damage, not forgery."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def download(url: str, target: Path, md5: str, on_bytes: OnBytes = lambda done, total: None) -> bool:
    """Download ``url`` to ``target``. Returns False if the target exists already and has the right checksum.

    Raises:
        DataError: the source is out of reach (then the message says how to do it by hand), or what came, or what lies
            at ``target``, has another checksum.
    """
    if target.exists():
        if target.is_file() and file_md5(target) == md5:
            return False
        raise DataError(f"{target}: exists with another checksum than {md5}; move it away and run the command again")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        _fetch(url, part, on_bytes)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        raise DataError(
            f"{url}: cannot be fetched ({reason}); run the command again to go on, or fetch it elsewhere, place it at "
            f"{target} and check that `md5sum {target}` prints {md5}"
        ) from None
    found = file_md5(part)
    if found != md5:
        part.unlink()
        raise DataError(f"{url}: what came has MD5 {found}, expected {md5}; it was removed, run the command again")
    os.replace(part, target)
    return True


def _fetch(url: str, part: Path, on_bytes: OnBytes) -> None:
    """Append the missing bytes to ``part``. Starts from the beginning if the source cannot resume."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing; the checksum is compared later
            return
        raise
    with response:
        resumed = response.status == 206
        length = int(response.headers.get("Content-Length") or 0)
        done = done if resumed else 0
        total = done + length if length else 0
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                on_bytes(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total and done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes")
