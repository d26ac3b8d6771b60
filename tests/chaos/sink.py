"""The server elsewhere that mail leaves for: takes everything and remembers the token of each message."""

import collections
import re
import socketserver
import threading

TOKEN = re.compile(rb"^X-Chaos: (\S+)\r?$", re.MULTILINE)


class _Conversation(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as a relay needs: no extensions."""

    def handle(self):
        try:
            self._converse()
        except OSError:
            pass  # the relay was killed in the middle

    def _converse(self):
        self._reply("220 sink.test")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self._reply("354 go on")
                self._take(self._message())
                self._reply("250 2.0.0 taken")
            elif verb == b"QUIT":
                self._reply("221 2.0.0 bye")
                return
            else:
                self._reply("250 sink.test" if verb in (b"EHLO", b"HELO") else "250 2.0.0 ok")

    def _message(self):
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise ConnectionResetError("cut off in the message")
            lines.append(line)
        return b"".join(lines)

    def _take(self, message):
        found = TOKEN.search(message)
        with self.server.lock:
            self.server.taken[found[1].decode() if found else "without a token"] += 1

    def _reply(self, text):
        self.wfile.write(text.encode() + b"\r\n")


class Sink(socketserver.ThreadingTCPServer):
    """Listens from its making; `taken` counts how often each token came."""

    allow_reuse_address = True
    # More than come at once: a connection that the kernel drops unseen is waited for by its client for minutes (RFC 5321 §4.5.3.2).
    request_queue_size = 512
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.port = self.server_address[1]
        self.lock = threading.Lock()
        self.taken = collections.Counter()
        threading.Thread(target=self.serve_forever, daemon=True).start()
