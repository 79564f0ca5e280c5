"""A client of a node: grpcio, without generated code. Arguments: the node's address, and the file
of its authority."""

import sys

import grpc

address, authority = sys.argv[1:]
with open(authority, "rb") as file:
    credentials = grpc.ssl_channel_credentials(root_certificates=file.read())
options = [("grpc.max_receive_message_length", 64 << 20)]
with grpc.secure_channel(address, credentials, options) as channel:
    unary = channel.unary_unary("/grpc/Echo")
    for message in [b"", b"a", bytes(1 << 20)]:
        reply, call = unary.with_call(message, timeout=30, metadata=[("x-said", "one")])
        assert reply == message, len(reply)
        assert dict(call.trailing_metadata())["x-sum"] == str(len(message) + 5)

    sent = iter([f"message {number}".encode() for number in range(20)])
    replies = channel.stream_stream("/grpc/Echo")(sent, timeout=30)
    assert list(replies) == [f"message {number}".encode() for number in range(20)]

    try:
        channel.unary_unary("/grpc/Fail")(b"a", timeout=30)
        raise AssertionError("it fails")
    except grpc.RpcError as error:
        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing"), error

    # A service that is not there is an error of HTTP, which gRPC has a code for.
    try:
        channel.unary_unary("/missing/Echo")(b"a", timeout=30)
        raise AssertionError("it fails")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
print("all is well")
