"""A name server that knows no name, and fails for those under broken.test: what a resolver asks while nobody has a network."""

import socketserver
import threading

NO_SUCH_NAME, SERVER_FAILURE = 3, 2
# RFC 1035 §4.1.1: it is an answer (QR), and recursion was done (RA).
ANSWER, RECURSION = 0x80, 0x80


class _Question(socketserver.BaseRequestHandler):
    def handle(self):
        question, answers = self.request
        code = SERVER_FAILURE if b"\x06broken\x04test\x00" in question.lower() else NO_SUCH_NAME
        header = question[:2] + bytes([ANSWER | question[2] & 1, RECURSION | code]) + question[4:6] + bytes(6)
        end = question.index(b"\0", 12) + 5
        answers.sendto(header + question[12:end], self.client_address)


class Names(socketserver.ThreadingUDPServer):
    """Listens from its making."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Question)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()
