"""faulty_upstream.py DOCUMENT: an upstream that answers as an external ID says, with the user in the file
DOCUMENT, and a token endpoint that fails now and then. It prints its address once it listens."""

import itertools
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

with open(sys.argv[1], encoding="utf-8") as file:
    USER = json.load(file)
token_requests = itertools.count()

# By how an external ID begins: status, body, and how many seconds that takes.
ANSWERS = {
    "good": (200, USER, 0),
    "wait": (200, USER, 0.2),
    "more": (200, USER | {"tariff": "flat"}, 0),
    "less": (200, {"id": USER["id"]}, 0),
    "none": (404, {"detail": "Not Found"}, 0),
    "down": (503, {"detail": "Service Unavailable"}, 0),
    "hang": (200, USER, 2),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if next(token_requests) % 2:
            self.answer(503, {})
        else:
            self.answer(200, {"access_token": "of-a-check", "token_type": "Bearer", "expires_in": 4})

    def do_GET(self):
        external_id = self.path.partition("?")[0].rpartition("/")[2]
        status, body, seconds = ANSWERS[external_id[:4]]
        if "external_user_id" in body:
            body = body | {"external_user_id": external_id}
        time.sleep(seconds)
        self.answer(status, body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server(("127.0.0.1", 0), Handler)
print(f"127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
