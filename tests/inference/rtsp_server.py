"""A small RTSP server (RFC 2326) for tests: MPEG-TS in RTP packets (RFC 2250) on the connection that asked for it.

It answers OPTIONS, DESCRIBE, SETUP over TCP, PLAY and TEARDOWN; everything else, UDP included, it refuses.
"""

from __future__ import annotations

import itertools
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

TS_PACKET, PACKETS_PER_RTP = 188, 7
MPEG_TS, CLOCK = 33, 90_000  # RTP payload type; ticks per second
SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=film\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
SDP += f"m=video 0 RTP/AVP {MPEG_TS}\r\na=control:track\r\n"

Play = Callable[[int], Iterator[bytes]]  # the parts of the film that a client gets, who is the n-th


@contextmanager
def serving(play: Play) -> Iterator[tuple[str, list[str]]]:
    """Address of the film, and the requests so far. When the parts of ``play`` are used up, the connection is cut."""
    requests: list[str] = []
    clients = itertools.count()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):  # the client went away
                while request := _request(self.rfile.readline):
                    requests.append(request["method"])
                    if not _answer(self.wfile.write, request):
                        return
                    if request["method"] == "PLAY":
                        _send(self.wfile.write, play(next(clients)))
                        self.connection.shutdown(socket.SHUT_RDWR)
                        return

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"rtsp://127.0.0.1:{server.server_address[1]}/film", requests
    finally:
        server.shutdown()
        server.server_close()


def _request(readline: Callable[[], bytes]) -> dict[str, str]:
    """Method and header fields of the next request; empty when the client has gone."""
    line = readline().decode("ascii", "replace").strip()
    found = {"method": line.split()[0]} if line else {}
    while found and (field := readline().decode("ascii", "replace").strip()):
        name, _, value = field.partition(":")
        found[name.lower()] = value.strip()
    return found


def _answer(write: Callable[[bytes], object], request: dict[str, str]) -> bool:
    """Whether the conversation goes on."""
    body, fields = "", {"CSeq": request.get("cseq", "0"), "Session": "1"}
    match request["method"]:
        case "OPTIONS":
            fields["Public"] = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"
        case "DESCRIBE":
            body, fields["Content-Type"] = SDP, "application/sdp"
        case "SETUP" if "RTP/AVP/TCP" in request.get("transport", ""):
            fields["Transport"] = "RTP/AVP/TCP;unicast;interleaved=0-1"
        case "PLAY" | "TEARDOWN":
            pass
        case _:
            write(f"RTSP/1.0 461 Unsupported\r\nCSeq: {fields['CSeq']}\r\n\r\n".encode())
            return False
    fields["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    write(f"RTSP/1.0 200 OK\r\n{head}\r\n{body}".encode())
    return request["method"] != "TEARDOWN"


def _send(write: Callable[[bytes], object], parts: Iterator[bytes]) -> None:
    """Whole MPEG-TS packets, seven in each RTP packet, each behind the four bytes of an interleaved frame."""
    number = itertools.count()
    for part in parts:
        for start in range(0, len(part), TS_PACKET * PACKETS_PER_RTP):
            payload = part[start : start + TS_PACKET * PACKETS_PER_RTP]
            n = next(number)
            header = struct.pack(">BBHII", 0x80, MPEG_TS, n % 65536, n * CLOCK // 1000, 1)
            write(b"$\0" + struct.pack(">H", len(header) + len(payload)) + header + payload)
