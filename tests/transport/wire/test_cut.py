"""A data section falls into chunks and a chunk into parts, on both sides alike, and no byte is left out."""

from collections.abc import Sequence
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as some

import builders_wire as build
import second_wire
from checkpointheal.contract.cut import LARGE, Cut

FLOATS = LARGE // 4
SIZES = some.lists(some.sampled_from([0, 1, 15, 16, 100, FLOATS - 1, FLOATS, FLOATS + 1, 5 * FLOATS]), max_size=8)
CHUNKS = some.sampled_from([LARGE // 2, LARGE, 3 * LARGE - 1, 8 * LARGE])


def a_cut(sizes: Sequence[int], chunk_bytes: int) -> Cut:
    return Cut(build.a_schema(*sizes), chunk_bytes)


@given(SIZES, CHUNKS)
def test_the_parts_of_a_chunk_follow_each_other_and_are_all_of_it(sizes: list[int], chunk_bytes: int) -> None:
    cut = a_cut(sizes, chunk_bytes)
    for index in range(cut.count):
        lengths = [part.nbytes for part in cut.parts(index)]
        assert [part.in_chunk for part in cut.parts(index)] == [0, *accumulate(lengths)][:-1]
        assert sum(lengths) == cut.length(index)
        assert all(lengths)


@given(SIZES, CHUNKS)
def test_a_piece_is_a_part_of_its_own_where_it_is_large_and_only_there(sizes: list[int], chunk_bytes: int) -> None:
    cut = a_cut(sizes, chunk_bytes)
    for index in range(cut.count):
        large = [piece for piece in cut.pieces(index) if piece.nbytes >= LARGE]
        assert [part.piece for part in cut.parts(index) if part.piece] == large


@given(SIZES, CHUNKS)
def test_the_pieces_of_a_region_are_all_of_it(sizes: list[int], chunk_bytes: int) -> None:
    cut = a_cut(sizes, chunk_bytes)
    pieces = [piece for index in range(cut.count) for piece in cut.pieces(index)]
    for region, size in enumerate(build.a_schema(*sizes).regions.nbytes):
        mine = [piece for piece in pieces if piece.region == region]
        assert [piece.in_region for piece in mine] == [0, *accumulate(piece.nbytes for piece in mine)][: len(mine)]
        assert sum(piece.nbytes for piece in mine) == size


@given(SIZES, CHUNKS)
def test_who_reads_only_the_page_cuts_alike(sizes: list[int], chunk_bytes: int) -> None:
    cut = a_cut(sizes, chunk_bytes)
    regions = build.a_schema(*sizes).regions.model_dump()
    for index in range(cut.count):
        parts = second_wire.parts(regions, index * chunk_bytes, cut.length(index))
        assert [(part.start, part.stop - part.start) for part in parts] == [each[:2] for each in cut.parts(index)]
