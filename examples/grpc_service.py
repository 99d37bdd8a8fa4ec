"""A gRPC service whose touchpoints stand in a map alone: ``python examples/grpc_service.py``."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient, server_interceptor

import cxtrace
from cxtrace import JourneyMap, customer, journey, touchpoint
from cxtrace.integrations.grpc import CXInterceptor, instrument

MAP = JourneyMap.loads("""
schema = "cxtrace.map/1"
name = "shop"

[functions]
sales = { contact = "#team-sales" }
product = { contact = "#team-checkout" }

[[stage]]
name = "purchase"
phase = "customer"

[[stage]]
name = "delivery"
phase = "customer"

[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
owner = "product"

[[touchpoint]]
name = "order.place"
stage = "purchase"
owner = "sales"
match = { rpc = "shop.Orders/Place" }

[[touchpoint]]
name = "delivery.track"
stage = "delivery"
owner = "sales"
match = { rpc = "shop.Orders/Track" }

[[journey]]
name = "first_order"
goal = "order.place"
routes = { direct = ["checkout.pay", "order.place", "delivery.track"] }
""")


def place(order: bytes, context: grpc.ServicerContext) -> bytes:
    if order == b"umbrella":
        context.abort(grpc.StatusCode.NOT_FOUND, "we have none")
    return b"placed: " + order


def track(order: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    yield b"packed: " + order
    if context.is_active():
        yield b"shipped: " + order


def serve() -> tuple[grpc.Server, int]:
    server = grpc.server(
        ThreadPoolExecutor(2),
        interceptors=[server_interceptor(), CXInterceptor()],
    )
    methods = {
        "Place": grpc.unary_unary_rpc_method_handler(place),
        "Track": grpc.unary_stream_rpc_method_handler(track),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Orders", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def order(port: int) -> None:
    """What another service does, in a process of its own as a rule."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, touchpoint("checkout.pay"):
        place_order = channel.unary_unary("/shop.Orders/Place")
        print(place_order(b"rain coat").decode())
        try:
            place_order(b"umbrella")
        except grpc.RpcError as error:
            print(error.code().name)
        for news in channel.unary_stream("/shop.Orders/Track")(b"rain coat"):
            print(news.decode())


if __name__ == "__main__":
    os.environ.setdefault("CXTRACE_EXPORTER", "console")
    cxtrace.configure(service_name="shop", journey_map=MAP)
    GrpcInstrumentorClient().instrument()
    instrument(grpc)  # only needed for the client here: where a channel leads
    server, port = serve()
    with journey("first_order"), customer("cust-42"):
        order(port)
    server.stop(None).wait()
    cxtrace.shutdown()
