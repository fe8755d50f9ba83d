"""Put the page and onnxruntime-web into a folder that any web server can serve: `make web` calls this.

    python examples/web/fetch_runtime.py build/web

The package comes from the index that npm is set up for, by its name, and is refused if it is not the one of
``INTEGRITY``. Nothing of it is in this repository, and the page loads nothing from elsewhere.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "onnxruntime-web@1.30.0"  # MIT license
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
PAGE = ("index.html", "page.js", "classify.js", "frames.js")


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    if not all((folder / name).exists() for name in FILES):
        fetch(folder)
    for name in PAGE:
        shutil.copy(Path(__file__).parent / name, folder / name)
    print(f"{folder}/index.html: serve it with `python -m http.server -d {folder}`", file=sys.stderr)


def fetch(folder):
    """Download the package, compare its digest, and unpack the three files that the page needs."""
    if shutil.which("npm") is None:
        sys.exit("npm is not installed; it comes with Node.js, and downloads onnxruntime-web here")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = ["npm", "pack", PACKAGE, "--silent", "--pack-destination", scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = list(Path(scratch).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
            sys.exit(f"npm cannot download {PACKAGE}: {last[0]}")
        digest = base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
        if f"sha512-{digest}" != INTEGRITY:
            sys.exit(f"{PACKAGE}: the download is not the package that this page was made with (sha512 differs)")
        with tarfile.open(archives[0]) as package:
            for name in FILES:
                content = package.extractfile(f"package/dist/{name}")
                (Path(scratch) / name).write_bytes(content.read())
                (Path(scratch) / name).replace(folder / name)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
