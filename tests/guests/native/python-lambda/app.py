"""A function as users write it for AWS's runtime of Python.

It returns what it was given, as the body of a reply to an HTTP request and as the result of any other event.
The path, or the field `path` of any other event, changes that: `/error` raises an error, `/exit` ends the
process, `/bytes` replies with the bytes 00 ff 80 0a, `/log` writes a line with `logging` and one with `print`.
With a handler whose module is not there, the runtime reports the failure of its init.
"""

import base64
import json
import logging
import os

logging.getLogger().setLevel(logging.INFO)


def handler(event, context):
    path = (event.get("rawPath") or event.get("path") or "/") if isinstance(event, dict) else "/"
    if path == "/error":
        raise ValueError("an error of the handler")
    if path == "/exit":
        os._exit(3)
    if path == "/log":
        logging.info("a line of logging")
        print("a line of print")
    if not (isinstance(event, dict) and "requestContext" in event):
        return event
    if path == "/bytes":
        body = base64.b64encode(bytes([0x00, 0xFF, 0x80, 0x0A])).decode()
        return {
            "statusCode": 200,
            "headers": {"content-type": "application/octet-stream"},
            "body": body,
            "isBase64Encoded": True,
        }
    seen = {
        "event": event,
        "id": context.aws_request_id,
        "function": context.function_name,
        "remaining_ms": context.get_remaining_time_in_millis(),
    }
    return {
        "statusCode": 200,
        "headers": {"content-type": "application/json"},
        "cookies": ["one=1; Path=/", "two=2"],
        "body": json.dumps(seen),
    }
