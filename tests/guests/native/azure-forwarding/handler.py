#!/usr/bin/env python3
"""A custom handler for Azure Functions that gets requests as they are.

/v1/hello        Greets ?name=, or who the body names. With ?lines=N it replies with N lines, each
                 a chunk of its own.
/v1/items/{id}   GET replies with the request as the handler got it, as JSON. PUT replies 201 with
                 the body. DELETE replies 204.
"""

import json
import os
import socketserver
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, urlsplit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def serve(self):
        target = urlsplit(self.path)
        if target.path == "/v1/hello":
            self.hello(parse_qs(target.query))
        elif target.path.startswith("/v1/items/"):
            self.items(target)
        else:
            # Of / too, which the host asks for until somebody answers.
            self.reply(404, b"")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve

    def hello(self, query):
        if "lines" in query:
            self.send_response(200)
            self.send_header("content-type", "text/plain")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for number in range(int(query["lines"][0])):
                line = f"line {number}\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
            return
        name = query.get("name", [self.body().decode() or "world"])[0]
        self.reply(200, f"Hello, {name}!".encode(), {"x-handler": "forwarding"})

    def items(self, target):
        body = self.body()
        if self.command == "PUT":
            self.reply(201, body, {"location": target.path})
        elif self.command == "DELETE":
            self.reply(204, b"")
        else:
            got = {
                "method": self.command,
                "path": target.path,
                "query": parse_qsl(target.query),
                "headers": {name.lower(): value for name, value in self.headers.items()},
            }
            self.reply(200, json.dumps(got).encode(), {"content-type": "application/json"})

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while length := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def reply(self, status, body, headers={}):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self):
        # HTTPServer's own looks up the host's name, which takes long without a network.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address


Server(("127.0.0.1", int(os.environ["FUNCTIONS_CUSTOMHANDLER_PORT"])), Handler).serve_forever()
