"""Signs requests as botocore does, and prints them as JSON: a request with its headers each.

sign.py SECRET YYYYMMDDTHHMMSSZ
"""

import datetime
import json
import sys

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SECRET, TIME = sys.argv[1:]
NOW = datetime.datetime.strptime(TIME, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
botocore.auth.get_current_datetime = lambda *_, **__: NOW

HOST = "http://127.0.0.1:9001"
INVOKE = "/2015-03-31/functions/hello/invocations"
ARN = "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello"


class Unsigned(botocore.auth.SigV4Auth):
    """Leaves the payload out of the signature, as some clients do over TLS."""

    def payload(self, request):
        return "UNSIGNED-PAYLOAD"


class Stated(botocore.auth.SigV4Auth):
    """States the payload's hash in a header, as most SDKs but botocore do."""

    def _modify_request_before_signing(self, request):
        super()._modify_request_before_signing(request)
        request.headers["X-Amz-Content-SHA256"] = super().payload(request)


def signed(name, method, path, body=b"", headers=None, token=None, kind=botocore.auth.SigV4Auth, **more):
    request = AWSRequest(method=method, url=HOST + path, data=body, headers=headers or {})
    kind(Credentials("sockhop", SECRET, token), "lambda", more.pop("region", "us-east-1"), **more).add_auth(request)
    prepared = request.prepare()
    target = prepared.url.removeprefix(HOST)
    sent = [(key, value if isinstance(value, str) else value.decode()) for key, value in prepared.headers.items()]
    if not any(key.lower() == "host" for key, _ in sent):
        sent.append(("Host", "127.0.0.1:9001"))
    return {"name": name, "method": method, "target": target, "headers": sent, "body": body.decode()}


requests = [
    signed("a request without a body", "GET", "/2015-03-31/functions"),
    signed("a slash at the end", "GET", "/2015-03-31/functions/"),
    signed("a body", "POST", INVOKE, b'{"a": "\xc3\xa9"}'),
    signed("a query", "GET", "/2015-03-31/functions?MaxItems=2&Marker=a%3A%24LATEST"),
    signed("a query in another order", "GET", "/2015-03-31/functions?b=2&a=2&a=1&c=&d=~"),
    signed("a query with spaces", "GET", "/2015-03-31/functions?Marker=a%20b%2Bc"),
    signed("an ARN in the path", "POST", f"/2015-03-31/functions/{ARN}/invocations", b"{}"),
    signed("a version in the path", "POST", "/2015-03-31/functions/hello%3A%24LATEST/invocations"),
    signed("characters that are not encoded", "GET", "/2015-03-31/functions/a:b$c@d(e)~f"),
    signed("dots and slashes in the path", "GET", "//2015-03-31/./functions//a/../b"),
    signed("text that is not ASCII", "GET", "/2015-03-31/functions/%C3%A9?a=%C3%A9"),
    signed("headers with spaces", "POST", INVOKE, b"{}", {"X-Amz-Log-Type": "  Tail  ", "X-Amz-Client-Context": "a   b"}),
    signed("a content type", "POST", INVOKE, b"{}", {"Content-Type": "application/json; charset=utf-8"}),
    signed("a session token", "POST", INVOKE, b"{}", token="a+b/c=="),
    signed("another region", "GET", "/2015-03-31/functions", region="ap-southeast-3"),
    signed("a stated payload", "POST", INVOKE, b"{}", kind=Stated),
    signed("an unsigned payload", "POST", INVOKE, b"{}", {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}, kind=Unsigned),
    signed("a presigned request", "GET", "/2015-03-31/functions?MaxItems=1", kind=botocore.auth.SigV4QueryAuth, expires=60),
    signed("a presigned request of an hour", "POST", INVOKE, kind=botocore.auth.SigV4QueryAuth),
    signed("a presigned request with a token", "GET", INVOKE, kind=botocore.auth.SigV4QueryAuth, token="a+b/c=="),
]
json.dump(requests, sys.stdout, indent=1)
