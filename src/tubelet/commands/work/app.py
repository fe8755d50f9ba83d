"""``tubelet app``: serves the page until it is interrupted."""

from __future__ import annotations

import getpass
import ipaddress
import os
import socket
import sys
from pathlib import Path

from tubelet.commands.app import Options
from tubelet.commands.work.predict_windows import checked_rate, seconds_of
from tubelet.errors import ConfigError, TubeletError
from tubelet.files import check_path

PASSWORD = "TUBELET_APP_PASSWORD"
_SHORTEST_PASSWORD = 8
_STOPPING_SECONDS = 3  # that open answers have when the server ends


def run(options: Options) -> int:
    try:
        import fastapi
        import uvicorn
    except ImportError as error:
        raise TubeletError(f"the page needs the extra app ({error}): pip install 'tubelet[app]'") from None
    del fastapi
    from tubelet.app.config import AppConfig
    from tubelet.app.desk import Desk
    from tubelet.app.guard import Access
    from tubelet.app.server import make_app

    config = AppConfig(
        runs=options.runs,
        films=_films(options.films),
        labels=_labels(options),
        window_seconds=None if options.window is None else seconds_of(options.window, "--window"),
        hop_seconds=None if options.hop is None else seconds_of(options.hop, "--hop"),
        frame_fps=checked_rate(options.frame_fps),
        device=options.device,
        host=options.host,
        port=options.port,
    )
    password = None if is_loopback(options.host) else _password()
    with _listen(options.host, options.port) as listening:
        port = listening.getsockname()[1]
        access = Access(port=port, is_loopback=password is None, password=password)
        desk = Desk.of(config)
        announce(options.host, port, access.token if password is None else None)
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(desk, access),
                access_log=False,  # addresses hold the token
                log_level="warning",
                server_header=False,
                lifespan="on",
                ws="none",
                timeout_graceful_shutdown=_STOPPING_SECONDS,
            )
        )
        try:
            server.run(sockets=[listening])
        finally:
            desk.close()
    return 0


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _films(folder: Path | None) -> Path | None:
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"--films {folder}: no such folder; give the folder that the films are in")
    return folder


def _labels(options: Options) -> Path:
    folder = options.labels
    if folder is None:
        folder = Path("tubelet_labels") if options.films is None else options.films / "labels"
    check_path(folder, "--labels", is_written=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _password() -> str:
    password = os.environ.get(PASSWORD)
    if password is None and sys.stdin.isatty():
        password = getpass.getpass("password for the page: ")
    if password is None or len(password) < _SHORTEST_PASSWORD:
        raise ConfigError(
            f"--host opens the page to other machines and needs a password of at least {_SHORTEST_PASSWORD} letters; "
            f"set {PASSWORD}, or leave --host out"
        )
    return password


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"cannot listen at {host} port {port} ({reason}); give another --port") from None


def announce(host: str, port: int, token: str | None) -> None:
    """Print the address. A token of None means that the page asks for a password."""
    shown = f"[{host}]" if ":" in host else host
    if token is not None:
        print(f"tubelet app: http://{shown}:{port}/?token={token}", flush=True)
    else:
        print(f"tubelet app: http://{shown}:{port}/ (asks for the password)", flush=True)
        print(
            "tubelet app: there is no TLS: others on the network can read films, labels and password", file=sys.stderr
        )
    print("tubelet app: Ctrl-C ends it; every correction is saved at once", file=sys.stderr)
