#!/usr/bin/env python3
"""A custom handler for Azure Functions that gets its requests as JSON.

hello   Greets ?name=, or who the body names, and logs a line. ?then=error replies 500,
        ?then=text replies with text that is no JSON, ?then=exit ends the process.
items   GET replies with what the handler was told, as JSON. PUT replies with the body's bytes,
        which the handler returns as base64. DELETE replies 204.
"""

import argparse
import base64
import json
import os
import socketserver
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

arguments = argparse.ArgumentParser()
arguments.add_argument("--greeting", nargs="?", default="Hello")
GREETING = arguments.parse_args().greeting or "Hello"


def hello(call):
    request = call["Data"]["req"]
    name = request["Query"].get("name") or request.get("Body") or "world"
    print(f"hello to {name}", flush=True)
    return {
        "Outputs": {
            "res": {
                "statusCode": "200",
                "headers": {"content-type": "text/plain; charset=utf-8", "x-handler": "envelope"},
                "body": f"{GREETING}, {name}!",
            }
        },
        "Logs": [f"greeted {name}"],
        "ReturnValue": None,
    }


def items(call):
    request = call["Data"]["request"]
    if request["Method"] == "PUT":
        body = request.get("Body", "")
        kind = request["Headers"].get("Content-Type", ["text/plain"])[0]
        if kind != "application/octet-stream":
            body = base64.b64encode(body.encode()).decode()
        return {"ReturnValue": body}
    if request["Method"] == "DELETE":
        return {"ReturnValue": {"statusCode": 204, "body": None}}
    told = {
        "id": request["Params"]["id"],
        "url": request["Url"],
        "query": request["Query"],
        "agent": request["Headers"].get("User-Agent"),
        "function": call["Metadata"]["sys"]["MethodName"],
        "runtime": os.environ.get("FUNCTIONS_WORKER_RUNTIME"),
        "root": os.environ.get("FUNCTIONS_APP_ROOT_PATH"),
    }
    headers = {"content-type": "application/json"}
    return {"ReturnValue": {"statusCode": 200, "headers": headers, "body": told}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        # The host asks for / until somebody answers, and takes any answer.
        self.reply(404, b"{}")

    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["content-length"])))
        function = {"/hello": hello, "/items": items}.get(self.path)
        if function is None:
            self.reply(404, b"{}")
            return
        then = call["Metadata"]["Query"].get("then")
        if then == "error":
            self.reply(500, b"something went wrong")
        elif then == "text":
            self.reply(200, b"no JSON")
        elif then == "exit":
            os._exit(3)
        else:
            self.reply(200, json.dumps(function(call)).encode())

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
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
