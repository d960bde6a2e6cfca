"""The messages of the gRPC protocols, from descriptors that protoc made of the .proto files beside this one.

They live in a pool of their own: in protobuf's default pool, two packages that define the Open Inference Protocol
(this one, tritonclient, kserve, ...) cannot be imported by one process. After a change of a .proto, run
`python -m grpc_tools.protoc --proto_path src/oodtune/serve/oip/protocol
--descriptor_set_out src/oodtune/serve/oip/protocol/descriptors.binpb open_inference.proto health.proto`.
"""

from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

DESCRIPTORS: Final = Path(__file__).parent / "descriptors.binpb"
INFERENCE: Final = "inference.GRPCInferenceService"
HEALTH: Final = "grpc.health.v1.Health"


def _read_pool() -> descriptor_pool.DescriptorPool:
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


_POOL: Final = _read_pool()


def message(name: str) -> Any:
    """Return the class of the message with this full name."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


def methods(service: str) -> dict[str, tuple[Any, Any]]:
    """Return the methods of a service: name -> classes of its request and its answer."""
    descriptor = _POOL.FindServiceByName(service)
    return {
        one.name: (message_factory.GetMessageClass(one.input_type), message_factory.GetMessageClass(one.output_type))
        for one in descriptor.methods
    }
