"""Which dtypes cross, how large is an element, and what does safetensors call it?

Must not know tensors.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch


class Element(NamedTuple):
    """One dtype: bytes per element, and safetensors' word where it has one."""

    size: int
    safetensors: str | None


_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32",
    "int64": "I64", "uint64": "U64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": None, "float8_e5m2fnuz": None,
    "float8_e8m0fnu": "F8_E8M0", "complex32": None, "complex64": "C64", "complex128": None, "bcomplex32": None,
    "float4_e2m1fn_x2": None, "bits8": None, "bits16": None, "bits1x8": None, "bits2x4": None, "bits4x2": None,
    **{f"{sign}int{bits}": None for sign in ("", "u") for bits in range(1, 8)},
}  # fmt: skip

ELEMENTS: Mapping[torch.dtype, Element] = {
    dtype: Element(dtype.itemsize, word)
    for name, word in _NAMES.items()
    if (dtype := getattr(torch, name, None)) is not None
}
BY_NAME: Mapping[str, torch.dtype] = {str(dtype).removeprefix("torch."): dtype for dtype in ELEMENTS}


def name_of(dtype: torch.dtype) -> str:
    """The dtype as torch writes it, without the prefix."""
    return str(dtype).removeprefix("torch.")
