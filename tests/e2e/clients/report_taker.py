"""A web server over TLS that takes TLS reports (RFC 8460 §5.4): it appends each as a line of JSON to a file."""

import gzip
import http.server
import json
import os
import ssl


class Handler(http.server.BaseHTTPRequestHandler):
    timeout = 20

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        taken = {
            "host": self.headers["Host"],
            "path": self.path,
            "type": self.headers["Content-Type"],
            "report": json.loads(gzip.decompress(body)),
        }
        with open(os.environ["TAKEN"], "a") as file:
            file.write(json.dumps(taken) + "\n")
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Says nothing: the test reads the file."""


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(os.environ["CERTIFICATE"], os.environ["KEY"])
server.socket = tls.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
