"""The manifest's door: a live state described, compared, moved and rebuilt."""

from checkpointheal.manifest.bytes_across import write_into, write_out
from checkpointheal.manifest.classes import Known, part_by_part, register_class
from checkpointheal.manifest.compare import compare
from checkpointheal.manifest.describe import Described, describe
from checkpointheal.manifest.packed import pack, unpack
from checkpointheal.manifest.rebuild import glance, rebuild, remake

__all__ = [
    "Described",
    "Known",
    "compare",
    "describe",
    "glance",
    "pack",
    "part_by_part",
    "rebuild",
    "register_class",
    "remake",
    "unpack",
    "write_into",
    "write_out",
]
