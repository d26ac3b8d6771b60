"""A web server over TLS that gives each host name the MTA-STS policy in the file of that name."""

import http.server
import os
import pathlib
import ssl

POLICIES = pathlib.Path(os.environ["POLICIES"])


class Handler(http.server.BaseHTTPRequestHandler):
    timeout = 20

    def do_GET(self):
        host = self.headers["Host"].lower()
        with (POLICIES / "requests").open("a") as log:
            log.write(host + "\n")
        if self.path != "/.well-known/mta-sts.txt" or host not in os.listdir(POLICIES):
            self.send_error(404)
            return
        policy = (POLICIES / host).read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(policy)))
        self.end_headers()
        self.wfile.write(policy)

    def log_message(self, *_):
        """Says nothing: the test reads the file of requests."""


server = http.server.ThreadingHTTPServer((os.environ["ADDRESS"], int(os.environ["PORT"])), Handler)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(os.environ["CERTIFICATE"], os.environ["KEY"])
server.socket = tls.wrap_socket(server.socket, server_side=True)
print("serving", flush=True)
server.serve_forever()
