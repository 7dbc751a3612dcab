"""Weights written in shards: every value back, by us and by transformers, and nothing half."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from safetensors import safe_open

from tests import checkpoints
from tests.models.test_tensor_files import BF16, ROOT, TYPES, from_torch, same, shapes, values
from xcot_jax.files import whole_directory
from xcot_jax.models.tensor_files import CheckpointError, TensorFiles
from xcot_jax.models.tensor_writer import write_tensors


def layout_of(tensors):
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


stored = st.tuples(shapes, st.sampled_from(sorted(TYPES)))


@hypothesis.given(specs=st.lists(stored, max_size=6), limit=st.integers(1, 400))
@hypothesis.settings(max_examples=60)
def test_what_is_written_is_read_back(specs, limit):
    tensors = {f"t{n}": values(shape, TYPES[kind], n) for n, (shape, kind) in enumerate(specs)}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_tensors(directory, layout_of(tensors), tensors.items(), limit)
        ours = TensorFiles(directory)
        assert ours.names() == set(tensors)
        assert all(same(ours.read(name), tensor) for name, tensor in tensors.items())
        shards = sorted(directory.glob("*.safetensors"))
        theirs = {}
        for file in shards:
            with safe_open(file, framework="np") as opened:
                assert opened.metadata() == {"format": "pt"}
                held = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
            assert (
                sum(t.nbytes for t in held.values()) <= limit
                or sum(t.nbytes > 0 for t in held.values()) == 1
            )
            theirs |= held
        assert theirs.keys() == tensors.keys()
        assert all(same(theirs[name], tensor) for name, tensor in tensors.items())
        if sum(tensor.nbytes for tensor in tensors.values()) <= limit:
            assert os.listdir(directory) == ["model.safetensors"]
        else:
            assert len(list(directory.iterdir())) == len(shards) + (len(shards) > 1)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_transformers_loads_what_is_written(kind, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    load_torch = pytest.importorskip("safetensors.torch").load_file
    model = checkpoints.make("llama2", dtype=kind)
    model.config.save_pretrained(tmp_path)
    tensors = {name: from_torch(tensor) for name, tensor in model.state_dict().items()}
    write_tensors(tmp_path, layout_of(tensors), tensors.items(), 20_000)

    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": sum(t.nbytes for t in tensors.values())}
    assert list(index["weight_map"]) == sorted(tensors)
    shards = sorted(set(index["weight_map"].values()))
    count = len(shards)
    assert count > 2
    assert shards == [f"model-{n + 1:05d}-of-{count:05d}.safetensors" for n in range(count)]
    for name, file in index["weight_map"].items():
        assert torch.equal(load_torch(tmp_path / file)[name], model.state_dict()[name])

    again, report = transformers.LlamaForCausalLM.from_pretrained(
        tmp_path, dtype=getattr(torch, kind), output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_the_same_tensors_give_the_same_bytes_however_they_lie_in_memory(tmp_path):
    matrix = values((6, 5), np.float32)
    tensors = {"z": matrix, "a": values((3,), BF16), "m": values((), np.float32)}
    contents = []
    for number, first in enumerate((matrix, np.asfortranarray(matrix))):
        directory = tmp_path / str(number)
        directory.mkdir()
        write_tensors(directory, layout_of(tensors), (tensors | {"z": first}).items(), 100)
        contents.append({file.name: file.read_bytes() for file in directory.iterdir()})
    assert len(contents[0]) == 3
    assert contents[0] == contents[1]


def test_tensors_of_every_width_are_aligned_in_the_file(tmp_path):
    kinds = {"a": BF16, "b": np.float64, "c": np.float16, "d": np.float32}
    tensors = {name: np.ones(3, kind) for name, kind in kinds.items()}
    write_tensors(tmp_path, layout_of(tensors), tensors.items())
    content = (tmp_path / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    for name, tensor in tensors.items():
        assert (start + header[name]["data_offsets"][0]) % tensor.itemsize == 0


WRONG = {
    "another name": [("a", np.ones(2)), ("c", np.ones(2))],
    "another order": [("b", np.ones(2)), ("a", np.ones(2))],
    "another shape": [("a", np.ones(2)), ("b", np.ones((2, 1)))],
    "another type": [("a", np.ones(2)), ("b", np.ones(2, np.float32))],
    "too few": [("a", np.ones(2))],
    "too many": [("a", np.ones(2)), ("b", np.ones(2)), ("c", np.ones(2))],
}


@pytest.mark.parametrize("case", WRONG)
def test_tensors_other_than_the_layouts_are_refused(case, tmp_path):
    layout = layout_of({"a": np.ones(2), "b": np.ones(2)})
    with pytest.raises(ValueError):
        write_tensors(tmp_path, layout, WRONG[case], shard_bytes=16)
    assert all(name.endswith(".safetensors") for name in os.listdir(tmp_path))  # No index.
    with pytest.raises(CheckpointError, match="holds no weights"):
        TensorFiles(tmp_path)


KILLED = """
import os, signal, sys
import numpy as np
from xcot_jax.files import whole_directory
from xcot_jax.models.tensor_writer import write_tensors

def tensors():
    yield "a", np.ones(8)
    yield "b", np.ones(8)
    os.kill(os.getpid(), signal.SIGKILL)

layout = {name: ((8,), np.dtype(float)) for name in "abc"}
with whole_directory(sys.argv[1]) as directory:
    write_tensors(directory, layout, tensors(), 64)
"""


def test_killed_between_shards_nothing_has_the_name_and_the_next_call_cleans_up(tmp_path):
    target = tmp_path / "model"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(target)], cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert not target.exists()
    (leftover,) = tmp_path.iterdir()
    assert (leftover / "model-00001-of-00003.safetensors").exists()
    with whole_directory(target) as directory:
        write_tensors(directory, {"a": ((2,), np.dtype(float))}, [("a", np.ones(2))])
    assert os.listdir(tmp_path) == ["model"]
    assert os.listdir(target) == ["model.safetensors"]
