"""The benchmark of memory: few compilations, none twice, and the counts that fit."""

from __future__ import annotations

import pytest

from tests.benchmarks import tpu_memory

GIB = 2**30
STATE = {"llama2_7b": 1.26, "llama2_13b": 2.4, "bloom_7b1": 1.5, "qwen2_5_7b": 1.5, "gemma2_9b": 2}


class Compiler:
    """Memory as the compiler gives it: a line, other on each topology by a few per cent."""

    def __init__(self):
        self.asked = []

    def needs(self, model, topology, rows):
        ripple = 1 + 0.03 * tpu_memory.TOPOLOGIES.index(topology) + 0.01 * (rows % 3)
        return (STATE[model] + 1.5 + 0.35 * STATE[model] * rows * ripple) * GIB

    def __call__(self, model, topology, rows, loss):
        self.asked.append((model, topology, rows, loss))
        total = self.needs(model, topology, rows)
        limit = tpu_memory.capacity(topology)
        if total > limit:
            return {"fits": False, "temporaries": total, "limit": limit}
        return {"fits": True, "total": total, "temporaries": total - GIB, "arguments": GIB}


@pytest.fixture(scope="module")
def compiler():
    return Compiler()


@pytest.fixture(scope="module")
def table(compiler, tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "cells.json"
    store = tpu_memory.Store(path, compiler)
    rows = {
        model: tpu_memory.rows_by_topology(store, model, tpu_memory.TOPOLOGIES)
        for model in tpu_memory.MODELS
    }
    return path, rows


def test_the_whole_table_takes_forty_compilations_at_most(compiler, table):
    assert len(compiler.asked) == len(set(compiler.asked)) <= 40


def test_every_count_is_compiled_and_fits_and_a_tenth_more_hardly_would(compiler, table):
    for model, found in table[1].items():
        for topology, rows in found.items():
            assert (model, topology, rows, "fused") in compiler.asked
            limit = tpu_memory.capacity(topology)
            assert compiler.needs(model, topology, rows) <= limit
            more = rows + 2 + int(tpu_memory.WITHIN * rows)
            assert compiler.needs(model, topology, more) > 0.99 * limit


def test_what_the_file_holds_is_not_compiled_again(table):
    def fails(*_):
        raise AssertionError("compiled again")

    path, rows = table
    store = tpu_memory.Store(path, fails)
    again = tpu_memory.rows_by_topology(store, "llama2_13b", tpu_memory.TOPOLOGIES)
    assert again == rows["llama2_13b"]
    assert len(tpu_memory.line(store, "llama2_13b", "v4:4x4x4", again["v4:4x4x4"])) == len(
        tpu_memory.COLUMNS
    )
