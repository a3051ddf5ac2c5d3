"""The manifest's door: a live state described, compared, moved and rebuilt."""

from checkpointheal.manifest.anew import Anew
from checkpointheal.manifest.around import around
from checkpointheal.manifest.bytes_across import write_into, write_out, write_over
from checkpointheal.manifest.classes import comes_back, register_class
from checkpointheal.manifest.codec import Known
from checkpointheal.manifest.compare import compare, lie_alike
from checkpointheal.manifest.describe import Described, describe
from checkpointheal.manifest.packed import pack, pack_described, unpack_apart
from checkpointheal.manifest.paths import owner_of
from checkpointheal.manifest.rebuild import glance, rebuild

__all__ = [
    "Anew",
    "Described",
    "Known",
    "around",
    "comes_back",
    "compare",
    "describe",
    "glance",
    "lie_alike",
    "owner_of",
    "pack",
    "pack_described",
    "rebuild",
    "register_class",
    "unpack_apart",
    "write_into",
    "write_out",
    "write_over",
]
