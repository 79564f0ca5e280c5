"""What boto3 sees of a node with real functions, a function a check: checks.py CHECK ENDPOINT GUESTS"""

import base64
import concurrent.futures
import datetime
import io
import json
import os
import pathlib
import sys
import time
import zipfile

import boto3
import botocore.auth
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, GUESTS = sys.argv[2], pathlib.Path(sys.argv[3])
MIB = 1024 * 1024
INVALID = (400, "InvalidParameterValueException")


def client(key="sockhop", secret=os.environ["AWS_SECRET_ACCESS_KEY"]):
    config = Config(retries={"max_attempts": 0}, read_timeout=100, max_pool_connections=200)
    return boto3.client(
        "lambda", endpoint_url=ENDPOINT, config=config, aws_access_key_id=key, aws_secret_access_key=secret
    )


node = client()


def zipped(guest):
    """Returns a zip of a guest's folder, with the modes of its files."""
    archive, folder = io.BytesIO(), GUESTS / guest
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
    return archive.getvalue()


def create(guest, name=None, timeout=30, variables=None, **more):
    name = name or guest
    made = node.create_function(
        FunctionName=name,
        Runtime="provided.al2023",
        Handler="bootstrap",
        Role="arn:aws:iam::000000000000:role/any",
        Code={"ZipFile": zipped(guest)},
        Timeout=timeout,
        Environment={"Variables": variables or {}},
        **more,
    )
    node.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    return made


def invoke(name, event, **more):
    """Returns the whole answer, and its payload read as JSON."""
    payload = event if isinstance(event, bytes) else json.dumps(event).encode()
    answer = node.invoke(FunctionName=name, Payload=payload, **more)
    return answer, json.loads(answer["Payload"].read())


def succeeded(name, event, **more):
    """Returns what a function answers."""
    answer, payload = invoke(name, event, **more)
    assert answer["StatusCode"] == 200 and "FunctionError" not in answer, (answer, payload)
    return payload


def failed(name, event, error_type, *words, **more):
    """Checks that a function fails so, which is no failure of the API, and returns the answer."""
    answer, payload = invoke(name, event, **more)
    assert (answer["StatusCode"], answer.get("FunctionError")) == (200, "Unhandled"), (answer, payload)
    assert payload["errorType"] == error_type, payload
    for word in words:
        assert word in payload["errorMessage"], (word, payload)
    return answer


def refused(expected, call, *words, **arguments):
    """Checks that a call is refused so, in a sentence with these words."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        told = error.response
        found = (told["ResponseMetadata"]["HTTPStatusCode"], told["Error"]["Code"])
        assert found == expected, (found, told)
        for word in words:
            assert word in told["Error"]["Message"], (word, told)
        return told
    raise AssertionError(f"expected {expected}, not {answer}")


def log_of(answer):
    return base64.b64decode(answer["LogResult"]).decode()


def invoke_rust():
    create("lambda-events", variables={"COLOUR": "green"})
    event = {"a": ["é", None, 1.5, {"b": "\u0000"}]}
    assert succeeded("lambda-events", event) == event
    # Without a payload there is an event all the same.
    assert json.loads(node.invoke(FunctionName="lambda-events")["Payload"].read()) == {}
    for event in (b"1", b"[]", b'"text"', b"null", b' {"a" : 1} '):
        assert succeeded("lambda-events", event) == json.loads(event)
    assert succeeded("lambda-events", {"env": True})["COLOUR"] == "green"

    names = ("installationId", "appTitle", "appVersionName", "appVersionCode", "appPackageName")
    sent = {"client": {name: f"Läden {name}" for name in names}, "custom": {"k": "v"}, "env": {}}
    context = base64.b64encode(json.dumps(sent).encode())
    before_ms = time.time() * 1000
    trace = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1"
    # boto3 has no argument for the trace, and sends what its own function's environment says.
    os.environ["AWS_LAMBDA_FUNCTION_NAME"], os.environ["_X_AMZN_TRACE_ID"] = "caller", trace
    answer, seen = invoke("lambda-events", {"context": True}, ClientContext=context.decode())
    del os.environ["AWS_LAMBDA_FUNCTION_NAME"], os.environ["_X_AMZN_TRACE_ID"]
    assert all(seen["client"][part] == sent[part] for part in ("client", "custom")), seen
    assert seen["request_id"] == answer["ResponseMetadata"]["RequestId"], (seen, answer)
    assert before_ms + 29_000 < seen["deadline_ms"] < before_ms + 60_000, (seen, before_ms)
    assert seen["arn"] == "arn:aws:lambda:us-east-1:000000000000:function:lambda-events", seen
    assert seen["trace"] == trace, seen
    assert (seen["function"], seen["memory_mb"]) == ("lambda-events", 128), seen

    for _ in range(10):
        answer, _ = invoke("lambda-events", {"log": 3}, LogType="Tail")
        log = log_of(answer)
        assert log.count("line 2\n") == 2, log
        request_id = answer["ResponseMetadata"]["RequestId"]
        for line in ("START", "END", "REPORT"):
            assert f"{line} RequestId: {request_id}" in log, log
    answer, _ = invoke("lambda-events", {"log": 2000}, LogType="Tail")
    assert 3500 < len(log_of(answer)) <= 4096 and "line 1999\n" in log_of(answer), answer
    assert "LogResult" not in invoke("lambda-events", {"log": 1})[0]

    dry = node.invoke(FunctionName="lambda-events", InvocationType="DryRun")
    assert (dry["StatusCode"], dry["Payload"].read()) == (204, b"")
    queued = node.invoke(FunctionName="lambda-events", InvocationType="Event", Payload=b"{}")
    assert (queued["StatusCode"], queued["Payload"].read()) == (202, b""), queued
    refused((404, "ResourceNotFoundException"), node.invoke, "none", FunctionName="none")
    refused((400, "InvalidRequestContentException"), node.invoke, "json", FunctionName="lambda-events", Payload=b"{")


def fail():
    create("lambda-events", timeout=2)
    failed("lambda-events", {"error": "as asked"}, "&alloc::boxed::Box<dyn core::error::Error + core::marker::Send + core::marker::Sync>", "as asked")
    answer, payload = invoke("lambda-events", {"panic": "oh no", "log": 1}, LogType="Tail")
    assert answer["FunctionError"] == "Unhandled" and "oh no" in payload["errorMessage"], payload
    assert "line 0" in log_of(answer) and "oh no" in log_of(answer), log_of(answer)
    answer = failed("lambda-events", {"exit": 3, "log": 1}, "Runtime.ExitError", "Runtime exited with error: exit status 3", LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert "line 0" in log_of(answer) and f"END RequestId: {request_id}" in log_of(answer), log_of(answer)
    failed("lambda-events", {"exit": 0}, "Runtime.ExitError", "Runtime exited without providing a reason")
    began = time.monotonic()
    answer = failed("lambda-events", {"sleep_ms": 60_000, "log": 1}, "Sandbox.Timedout", "Task timed out after 2.00 seconds", LogType="Tail")
    assert time.monotonic() - began < 20
    assert "line 0" in log_of(answer), log_of(answer)
    assert succeeded("lambda-events", {"still": "there"}) == {"still": "there"}


def fail_to_start():
    """`exits` and `slow` were deployed without a trial."""
    failed("exits", {}, "Runtime.ExitError", "exit status 7")
    answer, _ = invoke("exits", {}, LogType="Tail")
    assert "last words of the init" in log_of(answer), answer
    failed("slow", {}, "Sandbox.Timedout", "Task timed out after 0.50 seconds")
    failed("reports", {}, "errorString", "cannot begin")
    # One that is created is tried, and there is none of it if that fails.
    refused(INVALID, create, "exit status 7", "last words", guest="lambda-events", variables={"INIT_EXIT": "7"})
    refused((404, "ResourceNotFoundException"), node.get_function, FunctionName="lambda-events")
    create("lambda-events")
    refused(INVALID, node.update_function_configuration, "exit status 7", FunctionName="lambda-events", Environment={"Variables": {"INIT_EXIT": "7"}})
    assert succeeded("lambda-events", {"a": 1}) == {"a": 1}


def payload_limits():
    create("lambda-events")
    text = b'"' + b"x" * (6 * MIB - 2) + b'"'
    assert node.invoke(FunctionName="lambda-events", Payload=text)["Payload"].read() == text
    refused((413, "RequestTooLargeException"), node.invoke, FunctionName="lambda-events", Payload=text + b" ")
    answer = node.invoke(FunctionName="lambda-events", Payload=b'{"bytes": 6291556}')
    assert len(answer["Payload"].read()) == 6_291_556 and "FunctionError" not in answer
    failed("lambda-events", {"bytes": 6_291_557}, "Function.ResponseSizeTooLarge", "6291557 bytes", "6291556 bytes")
    assert succeeded("lambda-events", {"a": 1}) == {"a": 1}


def at_once():
    create("lambda-events")
    node.put_function_concurrency(FunctionName="lambda-events", ReservedConcurrentExecutions=4)
    node.get_waiter("function_updated_v2").wait(FunctionName="lambda-events", WaiterConfig={"Delay": 1})
    assert node.get_function_concurrency(FunctionName="lambda-events")["ReservedConcurrentExecutions"] == 4
    with concurrent.futures.ThreadPoolExecutor(100) as threads:
        seen = list(threads.map(lambda _: succeeded("lambda-events", {"pid": True, "sleep_ms": 20}), range(100)))
    processes = {one["process"] for one in seen}
    assert 2 <= len(processes) <= 4, processes
    assert len({(one["process"], one["invocations"]) for one in seen}) == 100, "each was counted by itself"


def change():
    made = create("lambda-events", variables={"COLOUR": "red"}, Publish=True)
    assert (made["Version"], made["State"], made["Handler"], made["Timeout"]) == ("1", "Active", "bootstrap", 30), made
    colour = lambda name, **more: succeeded(name, {"env": True}, **more).get("COLOUR")
    changed = node.update_function_configuration(
        FunctionName="lambda-events", Timeout=7, MemorySize=256, Environment={"Variables": {"COLOUR": "green"}}
    )
    node.get_waiter("function_updated_v2").wait(FunctionName="lambda-events", WaiterConfig={"Delay": 1})
    assert (changed["Timeout"], changed["MemorySize"]) == (7, 256) and changed["RevisionId"] != made["RevisionId"]
    second = node.publish_version(FunctionName="lambda-events")
    assert second["Version"] == "2" and second["CodeSha256"] == made["CodeSha256"], second
    assert node.publish_version(FunctionName="lambda-events")["Version"] == "2", "nothing has changed"
    assert (colour("lambda-events"), colour("lambda-events:1"), colour("lambda-events", Qualifier="2")) == ("green", "red", "green")

    node.create_alias(FunctionName="lambda-events", Name="prod", FunctionVersion="1")
    answer, seen = invoke("lambda-events", {"context": True}, Qualifier="prod")
    assert answer["ExecutedVersion"] == "1" and seen["version"] == "1", (answer, seen)
    assert seen["arn"].endswith(":function:lambda-events:prod"), seen
    assert invoke("lambda-events", {})[0]["ExecutedVersion"] == "$LATEST"
    refused((412, "PreconditionFailedException"), node.update_function_code, FunctionName="lambda-events", ZipFile=zipped("shell-lambda"), RevisionId=made["RevisionId"])
    routing = {"AdditionalVersionWeights": {"2": 0.5}}
    node.update_alias(FunctionName="lambda-events", Name="prod", RoutingConfig=routing)
    executed = set()
    for _ in range(100):
        answer, seen = invoke("lambda-events:prod", {"context": True})
        assert answer["ExecutedVersion"] == seen["version"], (answer, seen)
        executed.add(seen["version"])
    assert executed == {"1", "2"}, executed

    # Another program altogether, while the alias is what it was.
    code = node.update_function_code(FunctionName="lambda-events", ZipFile=zipped("shell-lambda"))
    node.get_waiter("function_updated").wait(FunctionName="lambda-events", WaiterConfig={"Delay": 1})
    assert code["CodeSha256"] != made["CodeSha256"] and code["Timeout"] == 7, code
    assert "an event of" in log_of(invoke("lambda-events", {"a": 1}, LogType="Tail")[0])
    assert colour("lambda-events:prod") in ("red", "green")
    versions = node.list_versions_by_function(FunctionName="lambda-events")["Versions"]
    assert [version["Version"] for version in versions] == ["$LATEST", "1", "2", "3"], versions

    create("hello-lambda", name="other")
    listed = [function["FunctionName"] for function in node.list_functions()["Functions"]]
    assert listed == ["lambda-events", "other"], listed
    refused((409, "ResourceConflictException"), create, "already exist", guest="hello-lambda", name="other")
    assert node.get_function(FunctionName="lambda-events", Qualifier="1")["Configuration"]["Timeout"] == 30
    node.delete_alias(FunctionName="lambda-events", Name="prod")
    refused((404, "ResourceNotFoundException"), node.invoke, FunctionName="lambda-events:prod")
    node.delete_function(FunctionName="lambda-events")
    refused((404, "ResourceNotFoundException"), node.invoke, FunctionName="lambda-events")
    refused((404, "ResourceNotFoundException"), node.get_function, FunctionName="lambda-events")


def environment():
    # AWS has 4 KB for all of them; the node's own limit is what counts here.
    variables = {f"VARIABLE_{number}": "x" * 1000 for number in range(8)}
    create("lambda-events", variables=variables)
    seen = succeeded("lambda-events", {"env": True})
    assert {name: seen.get(name) for name in variables} == variables, seen
    refused(INVALID, create, "AWS_LAMBDA_RUNTIME_API", guest="lambda-events", name="a", variables={"AWS_LAMBDA_RUNTIME_API": "x"})
    # The handler is told to the program, which may choose by it what it runs.
    changed = node.update_function_configuration(FunctionName="lambda-events", Handler="shop.order")
    assert changed["Handler"] == "shop.order" and changed["Environment"]["Variables"] == variables, changed
    assert succeeded("lambda-events", {"env": True})["_HANDLER"] == "shop.order"
    changed = node.update_function_configuration(FunctionName="lambda-events", Environment={"Variables": {"ONE": "1"}})
    assert changed["Handler"] == "shop.order" and changed["Environment"]["Variables"] == {"ONE": "1"}, changed
    assert succeeded("lambda-events", {"env": True})["_HANDLER"] == "shop.order"


def signatures():
    create("hello-lambda")
    now = botocore.auth.get_current_datetime
    refused((403, "UnrecognizedClientException"), client("AKIAIOSFODNN7EXAMPLE").list_functions, "sockhop")
    wrong = client(secret="0" * 64)
    refused((403, "InvalidSignatureException"), wrong.invoke, "admin token", FunctionName="hello-lambda")
    refused((403, "InvalidSignatureException"), wrong.delete_function, FunctionName="hello-lambda")
    for minutes, words in ((-20, "Signature expired"), (20, "Signature not yet current")):
        offset = datetime.timedelta(minutes=minutes)
        botocore.auth.get_current_datetime = lambda *arguments, **more: now(*arguments, **more) + offset
        refused((403, "InvalidSignatureException"), node.invoke, words, FunctionName="hello-lambda")
    botocore.auth.get_current_datetime = now
    assert node.invoke(FunctionName="hello-lambda")["StatusCode"] == 200


def stream():
    create("lambda-stream")
    create("lambda-events")

    def events(name, event):
        answer = node.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail")
        began = time.monotonic()
        return [(time.monotonic() - began, event) for event in answer["EventStream"]]

    def text(events):
        return b"".join(event["PayloadChunk"]["Payload"] for _, event in events if "PayloadChunk" in event)

    seen = events("lambda-stream", {})
    assert text(seen).endswith(b"Hello\nworld\nfrom\nLambda!\n"), seen
    assert len(seen) >= 5 and seen[-1][0] - seen[0][0] > 0.2, f"each at its time: {seen}"
    complete = seen[-1][1]["InvokeComplete"]
    assert "ErrorCode" not in complete and "REPORT RequestId" in base64.b64decode(complete["LogResult"]).decode(), seen
    large = events("lambda-stream", {"path": "/large"})
    assert len(text(large)) >= 16 * MIB and "InvokeComplete" in large[-1][1], len(text(large))
    # What is not streamed by the function comes in one piece.
    whole = events("lambda-events", {"a": 1})
    assert json.loads(text(whole)) == {"a": 1} and "ErrorCode" not in whole[-1][1]["InvokeComplete"]
    broken = events("lambda-events", {"exit": 3})[-1][1]["InvokeComplete"]
    assert json.loads(broken["ErrorDetails"])["errorType"] == "Runtime.ExitError", broken
    # Without streaming, it is the whole of it.
    assert node.invoke(FunctionName="lambda-stream", Payload=b"{}")["Payload"].read().endswith(b"Lambda!\n")
    failed("lambda-stream", {"path": "/large"}, "Function.ResponseSizeTooLarge")
    # Whoever leaves does not keep the process.
    node.invoke_with_response_stream(FunctionName="lambda-stream", Payload=b'{"path": "/large"}')["EventStream"].close()
    assert text(events("lambda-stream", {})).endswith(b"Lambda!\n")


def stream_go():
    create("go-lambda")
    answer = node.invoke_with_response_stream(FunctionName="go-lambda", Payload=b'{"path": "/stream-error"}')
    seen = list(answer["EventStream"])
    assert b"".join(event["PayloadChunk"]["Payload"] for event in seen[:-1]).endswith(b"0\n1\n2\n3\n"), seen
    complete = seen[-1]["InvokeComplete"]
    assert complete["ErrorCode"] == "Unhandled" and "errorMessage" in json.loads(complete["ErrorDetails"]), seen


def invoke_go():
    create("go-lambda")
    assert succeeded("go-lambda", {"a": 1}) == {"a": 1}
    answer, payload = invoke("go-lambda", {"path": "/error"})
    assert answer["FunctionError"] == "Unhandled" and payload["stackTrace"][0]["line"] > 0, payload
    # It reports its panic, and then exits: the next invocation has another process.
    answer, payload = invoke("go-lambda", {"path": "/panic"})
    assert answer["FunctionError"] == "Unhandled" and payload["errorType"] != "Runtime.ExitError", payload
    assert succeeded("go-lambda", {"a": 1}) == {"a": 1}
    refused(INVALID, create, "cannot begin", guest="go-lambda", name="reports", variables={"INIT_ERROR": "cannot begin"})


def invoke_python():
    create("python-lambda", timeout=3)
    assert succeeded("python-lambda", {"a": "é"}) == {"a": "é"}
    answer = failed("python-lambda", {"path": "/error"}, "ValueError", "an error of the handler", LogType="Tail")
    assert "Traceback" in log_of(answer), log_of(answer)
    answer, _ = invoke("python-lambda", {"path": "/log"}, LogType="Tail")
    assert "a line of logging" in log_of(answer) and "a line of print" in log_of(answer), log_of(answer)
    failed("python-lambda", {"path": "/exit"}, "Runtime.ExitError", "exit status 3")
    assert succeeded("python-lambda", {"a": 1}) == {"a": 1}
    refused(INVALID, create, "Unable to import module", guest="python-lambda", name="none", variables={"HANDLER": "nothing.there"})


def invoke_shell():
    create("shell-lambda")
    answer, payload = invoke("shell-lambda", {"a": "b"}, LogType="Tail")
    assert payload == {"a": "b"} and "an event of 10 characters" in log_of(answer), (payload, log_of(answer))
    failed("shell-lambda", {"fail-please": 1}, "Refused", "as it was told to")
    assert succeeded("shell-lambda", {"a": 1}) == {"a": 1}


globals()[sys.argv[1]]()
print("done")
