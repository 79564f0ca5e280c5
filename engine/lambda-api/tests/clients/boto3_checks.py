"""What boto3 sees of the API, a function a check: boto3_checks.py CHECK ENDPOINT"""

import base64
import hashlib
import json
import os
import sys
import urllib.error
import urllib.request

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

ENDPOINT = sys.argv[2]
SECRET = os.environ["AWS_SECRET_ACCESS_KEY"]
# An archive of no files.
ZIP = b"PK\x05\x06" + bytes(18)
OTHER_ZIP = ZIP[:20] + b"\x01\x00x"
ARN = "arn:aws:lambda:us-east-1:000000000000:function"
MIB = 1024 * 1024


def client(key="sockhop", secret=SECRET, **more):
    # What is not valid goes to the node: its answer is wanted, not botocore's.
    config = {"retries": {"max_attempts": 0}, "parameter_validation": False, **more}
    return boto3.client(
        "lambda",
        endpoint_url=ENDPOINT,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(**config),
    )


node = client()


def create(name="hello", **more):
    asked = {
        "FunctionName": name,
        "Runtime": "provided.al2023",
        "Handler": "bootstrap",
        "Role": "arn:aws:iam::000000000000:role/any",
        "Code": {"ZipFile": ZIP},
        **more,
    }
    return node.create_function(**asked)


def refused(status, code, call, **arguments):
    """Checks that a call is refused so, and returns its answer."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        told = error.response
        found = (told["ResponseMetadata"]["HTTPStatusCode"], told["Error"]["Code"])
        assert found == (status, code), (found, told)
        assert told["Error"]["Message"], told
        assert told["ResponseMetadata"]["RequestId"], told
        return told
    raise AssertionError(f"expected {code}, not {answer}")


def functions():
    made = create(Timeout=7, MemorySize=256, Environment={"Variables": {"NAME": "välue"}}, Description="a")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    expected = {
        "FunctionName": "hello",
        "FunctionArn": f"{ARN}:hello",
        "Runtime": "provided.al2023",
        "Role": "arn:aws:iam::000000000000:role/any",
        "Handler": "bootstrap",
        "CodeSize": 22,
        "Description": "a",
        "Timeout": 7,
        "MemorySize": 256,
        "LastModified": "2024-01-31T12:00:00.000+0000",
        "CodeSha256": base64.b64encode(hashlib.sha256(ZIP).digest()).decode(),
        "Version": "$LATEST",
        "Environment": {"Variables": {"NAME": "välue"}},
        "RevisionId": "revision-0",
        "State": "Pending",
        "LastUpdateStatus": "InProgress",
        "PackageType": "Zip",
        "EphemeralStorage": {"Size": 512},
    }
    for field, value in expected.items():
        assert made[field] == value, (field, made[field])
    assert made["Architectures"][0] in ("x86_64", "arm64")

    got = node.get_function(FunctionName=f"{ARN}:hello")
    assert got["Configuration"]["FunctionArn"] == f"{ARN}:hello"
    assert got["Tags"] == {} and "Concurrency" not in got
    defaults = create("defaults")
    assert (defaults["Timeout"], defaults["MemorySize"]) == (3, 128)
    assert "Environment" not in defaults

    changed = node.update_function_configuration(FunctionName="hello", Timeout=9, RevisionId="revision-0")
    assert (changed["Timeout"], changed["MemorySize"]) == (9, 256)
    refused(412, "PreconditionFailedException", node.update_function_code, FunctionName="hello", ZipFile=ZIP, RevisionId="revision-0")
    checked = node.update_function_code(FunctionName="hello", ZipFile=OTHER_ZIP, DryRun=True)
    assert checked["CodeSha256"] == made["CodeSha256"]
    code = node.update_function_code(FunctionName="hello", ZipFile=OTHER_ZIP, Publish=True)
    assert (code["Version"], code["CodeSize"], code["FunctionArn"]) == ("1", 23, f"{ARN}:hello:1")
    same = node.publish_version(FunctionName="hello", CodeSha256=code["CodeSha256"])
    assert same["ResponseMetadata"]["HTTPStatusCode"] == 201 and same["Version"] == "1"
    refused(400, "InvalidParameterValueException", node.publish_version, FunctionName="hello", CodeSha256=made["CodeSha256"])
    node.update_function_code(FunctionName="hello", ZipFile=ZIP)
    assert node.publish_version(FunctionName="hello", Description="second")["Description"] == "second"
    assert node.get_function_configuration(FunctionName="hello", Qualifier="2")["FunctionArn"] == f"{ARN}:hello:2"
    versions = node.list_versions_by_function(FunctionName="hello")["Versions"]
    assert [version["Version"] for version in versions] == ["$LATEST", "1", "2"]
    assert versions[1]["FunctionArn"] == f"{ARN}:hello:1"

    refused(400, "InvalidParameterValueException", node.delete_function, FunctionName="hello", Qualifier="$LATEST")
    node.delete_function(FunctionName="hello", Qualifier="1")
    refused(404, "ResourceNotFoundException", node.get_function, FunctionName="hello:1")
    node.delete_function(FunctionName="hello")
    refused(404, "ResourceNotFoundException", node.get_function, FunctionName="hello")


def waiters():
    create()
    node.get_waiter("function_active_v2").wait(FunctionName="hello", WaiterConfig={"Delay": 1})
    node.update_function_code(FunctionName="hello", ZipFile=OTHER_ZIP)
    node.get_waiter("function_updated").wait(FunctionName="hello", WaiterConfig={"Delay": 1})
    node.get_waiter("function_updated_v2").wait(FunctionName="hello", WaiterConfig={"Delay": 1})
    node.get_waiter("function_exists").wait(FunctionName="hello")


def pages():
    names = [f"f{number:02}" for number in range(60)]
    for name in reversed(names):
        create(name)
    first = node.list_functions()
    assert len(first["Functions"]) == 50 and first["NextMarker"]
    for size in (1, 7, 60, 100):
        pages = node.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": size})
        assert [function["FunctionName"] for page in pages for function in page["Functions"]] == names
    for number in range(12):
        node.update_function_code(FunctionName="f00", ZipFile=ZIP[:20] + bytes([1, 0, number]), Publish=True)
        node.create_alias(FunctionName="f00", Name=f"alias-{number}", FunctionVersion=str(number + 1))
    pages = node.get_paginator("list_versions_by_function").paginate(FunctionName="f00", PaginationConfig={"PageSize": 5})
    versions = [version["Version"] for page in pages for version in page["Versions"]]
    assert versions == ["$LATEST"] + [str(number + 1) for number in range(12)], versions
    pages = node.get_paginator("list_aliases").paginate(FunctionName="f00", PaginationConfig={"PageSize": 5})
    assert len([alias for page in pages for alias in page["Aliases"]]) == 12
    only = node.list_aliases(FunctionName="f00", FunctionVersion="3")["Aliases"]
    assert [alias["Name"] for alias in only] == ["alias-2"]
    pages = node.get_paginator("list_functions").paginate(FunctionVersion="ALL", PaginationConfig={"PageSize": 9})
    all_versions = [function["FunctionArn"] for page in pages for function in page["Functions"]]
    assert len(all_versions) == 72 and all_versions[12] == f"{ARN}:f00:12", all_versions[:14]
    refused(400, "InvalidParameterValueException", node.list_functions, Marker="none")
    refused(400, "InvalidParameterValueException", node.list_functions, MaxItems=10_001)


def aliases():
    create(Publish=True)
    node.update_function_code(FunctionName="hello", ZipFile=OTHER_ZIP, Publish=True)
    made = node.create_alias(FunctionName="hello", Name="prod", FunctionVersion="1", Description="d", RoutingConfig={"AdditionalVersionWeights": {"2": 0.25}})
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert made["AliasArn"] == f"{ARN}:hello:prod" and made["Description"] == "d"
    assert made["RoutingConfig"] == {"AdditionalVersionWeights": {"2": 0.25}}
    refused(409, "ResourceConflictException", node.create_alias, FunctionName="hello", Name="prod", FunctionVersion="1")
    refused(404, "ResourceNotFoundException", node.create_alias, FunctionName="hello", Name="next", FunctionVersion="9")
    refused(400, "InvalidParameterValueException", node.create_alias, FunctionName="hello", Name="12", FunctionVersion="1")
    for weights in ({"2": 1.5}, {"2": -0.1}, {"x": 0.1}, {"1": 0.6, "2": 0.6}):
        routing = {"AdditionalVersionWeights": weights}
        refused(400, "InvalidParameterValueException", node.update_alias, FunctionName="hello", Name="prod", RoutingConfig=routing)
    refused(412, "PreconditionFailedException", node.update_alias, FunctionName="hello", Name="prod", RevisionId="other")
    changed = node.update_alias(FunctionName="hello", Name="prod", FunctionVersion="2", RoutingConfig={"AdditionalVersionWeights": {}})
    assert changed["FunctionVersion"] == "2" and "RoutingConfig" not in changed and changed["Description"] == "d"
    assert node.get_alias(FunctionName="hello", Name="prod")["FunctionVersion"] == "2"
    assert node.get_function(FunctionName="hello:prod")["Configuration"]["FunctionArn"] == f"{ARN}:hello:prod"
    assert node.invoke(FunctionName="hello:prod")["ExecutedVersion"] == "2"
    refused(400, "InvalidParameterValueException", node.delete_function, FunctionName="hello", Qualifier="prod")
    node.delete_alias(FunctionName="hello", Name="prod")
    refused(404, "ResourceNotFoundException", node.get_alias, FunctionName="hello", Name="prod")


def invoke():
    create("only")
    assert json.load(node.invoke(FunctionName="function")["Payload"])["name"] == "only"
    create("hello", Publish=True)
    refused(404, "ResourceNotFoundException", node.invoke, FunctionName="function")
    for name in ("hello", "hello:$LATEST", f"{ARN}:hello", "000000000000:function:hello", f"{ARN}:hello:$LATEST"):
        answer = node.invoke(FunctionName=name, Payload=b'{"a": "\xc3\xa9 \\u0000"}')
        assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST"), answer
        assert "FunctionError" not in answer and "LogResult" not in answer
        told = json.load(answer["Payload"])
        assert told["event"] == {"a": "é \0"} and told["name"] == "hello"
        assert told["request_id"] == answer["ResponseMetadata"]["RequestId"]
        assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/json"
    assert node.invoke(FunctionName="hello", Qualifier="1")["ExecutedVersion"] == "1"
    refused(400, "InvalidParameterValueException", node.invoke, FunctionName="hello:1", Qualifier="2")
    # Without a payload there is an event all the same.
    assert json.load(node.invoke(FunctionName="hello")["Payload"])["event"] == {}

    context = base64.b64encode(b'{"custom":{"a":"b"}}').decode()
    answer = node.invoke(FunctionName="hello", ClientContext=context, TenantId="tenant 1", LogType="Tail", Payload=b'{"log_bytes": 5000}')
    told = json.load(answer["Payload"])
    assert (told["client_context"], told["tenant_id"]) == ('{"custom":{"a":"b"}}', "tenant 1")
    assert base64.b64decode(answer["LogResult"]) == b"l" * 4096
    failed = node.invoke(FunctionName="hello", LogType="Tail", Payload=b'{"fail": true}')
    assert (failed["StatusCode"], failed["FunctionError"]) == (200, "Unhandled")
    assert json.load(failed["Payload"]) == {"errorMessage": "as asked", "errorType": "Asked"}
    assert failed["LogResult"]

    dry = node.invoke(FunctionName="hello", InvocationType="DryRun")
    assert (dry["StatusCode"], dry["Payload"].read()) == (204, b"")
    refused(404, "ResourceNotFoundException", node.invoke, FunctionName="none", InvocationType="DryRun")
    refused(501, "UnsupportedOperationException", node.invoke, FunctionName="hello", InvocationType="Event")


def invoke_streaming():
    create()
    answer = node.invoke_with_response_stream(FunctionName="hello", LogType="Tail", Payload=b'{"pieces": 3}')
    assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream", answer
    events = list(answer["EventStream"])
    chunks = [event["PayloadChunk"]["Payload"] for event in events if "PayloadChunk" in event]
    assert chunks == [b"piece 0,", b"piece 1,", b"piece 2,"], events
    assert events[-1] == {"InvokeComplete": {"LogResult": base64.b64encode(b"l" * 10).decode()}}, events[-1]

    def read(payload):
        return list(node.invoke_with_response_stream(FunctionName="hello", Payload=payload)["EventStream"])

    # More than an answer that is not streamed may have.
    large = read(b'{"bytes": 20000000}')
    assert sum(len(event["PayloadChunk"]["Payload"]) for event in large[:-1]) == 20_000_000
    failed = read(b'{"pieces": 1, "fail": true}')
    assert failed[0]["PayloadChunk"]["Payload"] == b"piece 0,"
    complete = failed[-1]["InvokeComplete"]
    assert complete["ErrorCode"] == "Unhandled" and json.loads(complete["ErrorDetails"])["errorType"] == "Asked"
    try:
        read(b'{"pieces": 1, "stop": true}')
        raise AssertionError("a stream that stops was read to its end")
    except EventStreamError as error:
        assert error.response["Error"]["Code"] == "ServiceException", error
    refused(404, "ResourceNotFoundException", node.invoke_with_response_stream, FunctionName="none")


def payload_limits():
    create()
    text = b'"' + b"x" * (6 * MIB - 2) + b'"'
    answer = node.invoke(FunctionName="hello", Payload=b'{"bytes": 6291556}')
    assert len(answer["Payload"].read()) == 6_291_556 and "FunctionError" not in answer
    answer = node.invoke(FunctionName="hello", Payload=b'{"bytes": 6291557}')
    assert answer["FunctionError"] == "Unhandled"
    assert json.load(answer["Payload"])["errorType"] == "Function.ResponseSizeTooLarge"
    # Its answer is longer than it.
    assert node.invoke(FunctionName="hello", Payload=text)["FunctionError"] == "Unhandled"
    refused(413, "RequestTooLargeException", node.invoke, FunctionName="hello", Payload=text + b" ")
    refused(413, "RequestTooLargeException", node.invoke, FunctionName="hello", Payload=b"1" * 20 * MIB)
    # Of code this server takes 1 MiB.
    node.update_function_code(FunctionName="hello", ZipFile=b"PK".ljust(MIB, b"x"))
    refused(413, "RequestTooLargeException", node.update_function_code, FunctionName="hello", ZipFile=b"PK".ljust(MIB + 1, b"x"))
    refused(413, "RequestTooLargeException", node.update_function_code, FunctionName="hello", ZipFile=b"PK".ljust(9 * MIB, b"x"))
    description = "x" * 2 * MIB
    refused(413, "RequestTooLargeException", node.update_function_configuration, FunctionName="hello", Description=description)


def around_functions():
    create()
    assert "ReservedConcurrentExecutions" not in node.get_function_concurrency(FunctionName="hello")
    put = node.put_function_concurrency(FunctionName="hello", ReservedConcurrentExecutions=5)
    assert put["ReservedConcurrentExecutions"] == 5
    assert node.get_function_concurrency(FunctionName="hello")["ReservedConcurrentExecutions"] == 5
    assert node.get_function(FunctionName="hello")["Concurrency"] == {"ReservedConcurrentExecutions": 5}
    node.delete_function_concurrency(FunctionName="hello")
    assert "Concurrency" not in node.get_function(FunctionName="hello")

    made = node.create_function_url_config(FunctionName="hello", AuthType="NONE")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201 and made["FunctionUrl"] == "http://node.example/hello/"
    got = node.get_function_url_config(FunctionName="hello")
    assert (got["AuthType"], got["FunctionArn"], got["FunctionUrl"]) == ("NONE", f"{ARN}:hello", made["FunctionUrl"])
    assert len(node.list_function_url_configs(FunctionName="hello")["FunctionUrlConfigs"]) == 1
    refused(400, "InvalidParameterValueException", node.create_function_url_config, FunctionName="hello", AuthType="AWS_IAM")
    refused(400, "InvalidParameterValueException", node.update_function_url_config, FunctionName="hello", Cors={"AllowOrigins": ["*"]})
    refused(404, "ResourceNotFoundException", node.get_function_url_config, FunctionName="none")

    assert node.list_tags(Resource=f"{ARN}:hello")["Tags"] == {}
    refused(404, "ResourceNotFoundException", node.list_tags, Resource=f"{ARN}:none")
    account = node.get_account_settings()
    assert account["AccountLimit"]["ConcurrentExecutions"] == 1000
    assert account["AccountUsage"]["FunctionCount"] == 1


def errors():
    invalid = (400, "InvalidParameterValueException")
    content = (400, "InvalidRequestContentException")
    create()
    assert "already exist" in refused(409, "ResourceConflictException", create)["Error"]["Message"]
    refused(*invalid, create, name="a" * 65)
    refused(*invalid, create, name="a", Code={"S3Bucket": "b", "S3Key": "k"})
    refused(*invalid, create, name="a", Code={"ZipFile": b"not a zip"})
    refused(*invalid, create, name="a", Code={"ZipFile": ZIP}, Runtime="python3.13")
    refused(*invalid, create, name="a", Tags={"a": "b"})
    refused(*invalid, create, name="a", Layers=[f"{ARN}:a:1"])
    refused(*invalid, create, name="a", VpcConfig={"SubnetIds": ["s"], "SecurityGroupIds": ["g"]})
    refused(*invalid, create, name="a", Environment={"Variables": {"AWS_LAMBDA_RUNTIME_API": "x"}})
    refused(*invalid, create, name="a", Timeout=901)
    refused(*invalid, create, name="a", Architectures=["x86_64", "arm64"])
    create("a", VpcConfig={"SubnetIds": [], "SecurityGroupIds": []}, TracingConfig={"Mode": "PassThrough"}, Tags={})
    refused(*content, node.invoke, FunctionName="hello", Payload=b"{")
    refused(*content, node.invoke, FunctionName="hello", ClientContext="e30")
    refused(*invalid, node.invoke, FunctionName="hello", LogType="All")
    refused(*invalid, node.invoke, FunctionName="hello", InvocationType="Now")
    refused(*invalid, node.invoke, FunctionName="hello", DurableExecutionName="d")
    throttled = refused(429, "TooManyRequestsException", node.invoke, FunctionName="hello", Payload=b'{"throttle": 1}')
    assert throttled["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded", throttled
    assert throttled["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "2", throttled
    refused(500, "ServiceException", node.invoke, FunctionName="hello", Payload=b'{"stop": 1}')
    try:
        node.invoke(FunctionName="none")
    except node.exceptions.ResourceNotFoundException as error:
        assert error.response["Type"] == "User", error.response


def unsupported():
    create()
    for call, arguments, name in (
        (node.get_policy, {"FunctionName": "hello"}, "GetPolicy"),
        (node.add_permission, {"FunctionName": "hello", "StatementId": "s", "Action": "a", "Principal": "p"}, "AddPermission"),
        (node.list_layers, {}, "ListLayers"),
        (node.list_event_source_mappings, {}, "ListEventSourceMappings"),
        (node.tag_resource, {"Resource": f"{ARN}:hello", "Tags": {"a": "b"}}, "TagResource"),
        (node.invoke_async, {"FunctionName": "hello", "InvokeArgs": b"{}"}, "InvokeAsync"),
        (node.delete_function_url_config, {"FunctionName": "hello"}, "DeleteFunctionUrlConfig"),
        (node.put_function_event_invoke_config, {"FunctionName": "hello"}, "PutFunctionEventInvokeConfig"),
    ):
        told = refused(501, "UnsupportedOperationException", call, **arguments)
        assert name in told["Error"]["Message"], told
    other = boto3.client("lambda", endpoint_url=f"{ENDPOINT}/elsewhere", region_name="us-east-1")
    refused(404, "UnknownOperationException", other.list_functions)


def signatures():
    create()
    wrong = (403, "InvalidSignatureException")
    payload = b'{"a": 1}'
    refused(*wrong, client(secret="0" * 64).list_functions)
    refused(*wrong, client(secret="0" * 64).invoke, FunctionName="hello", Payload=payload)
    refused(*wrong, client(secret="0" * 64).invoke, FunctionName="hello", Payload=b"1" * 5 * MIB)
    refused(403, "UnrecognizedClientException", client(key="AKIAIOSFODNN7EXAMPLE").list_functions)
    temporary = boto3.client("lambda", endpoint_url=ENDPOINT, region_name="eu-west-3", aws_session_token="t/+=")
    assert temporary.invoke(FunctionName="hello", ClientContext=base64.b64encode(b"{}").decode())["StatusCode"] == 200

    url = node.generate_presigned_url("list_functions", Params={"MaxItems": 1}, ExpiresIn=60)
    assert len(json.load(urllib.request.urlopen(url))["Functions"]) == 1
    try:
        urllib.request.urlopen(url.replace("MaxItems=1", "MaxItems=2"))
        raise AssertionError("a presigned address was changed, and answered")
    except urllib.error.HTTPError as error:
        assert error.code == 403 and error.headers["x-amzn-ErrorType"] == "InvalidSignatureException"
        told = json.load(error)
        assert told["Type"] == "User" and "signature" in told["Message"], told


def clock_behind():
    told = refused(403, "InvalidSignatureException", node.list_functions)
    assert told["Error"]["Message"].startswith("Signature expired: "), told


def clock_ahead():
    told = refused(403, "InvalidSignatureException", node.list_functions)
    assert told["Error"]["Message"].startswith("Signature not yet current: "), told


def unsigned():
    told = refused(403, "MissingAuthenticationTokenException", client(signature_version=UNSIGNED).list_functions)
    assert "sockhop" in told["Error"]["Message"], told


globals()[sys.argv[1]]()
print("done")
