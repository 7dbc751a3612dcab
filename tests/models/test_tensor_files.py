"""Files of weights: every value back by any rows, a bounded host, and each way to be broken."""

import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st
from safetensors.numpy import save_file

from xcot_jax.models.tensor_files import CheckpointError, TensorFiles

BF16 = np.dtype(ml_dtypes.bfloat16)
TYPES = {t.name: t for t in map(np.dtype, (np.float32, np.float16, BF16, np.float64))}
ROOT = Path(__file__).parents[2]


def same(ours, theirs):
    """Equal in shape, type and every bit."""
    return (
        ours.shape == theirs.shape
        and ours.dtype == theirs.dtype
        and ours.tobytes() == theirs.tobytes()
    )


def values(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def from_torch(tensor):
    torch = pytest.importorskip("torch")
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    return flat.view(TYPES[str(tensor.dtype).removeprefix("torch.")]).reshape(tuple(tensor.shape))


def save_pickled(state, directory, shards=1):
    """A state dict as transformers used to save it: one file, or shards with an index."""
    torch = pytest.importorskip("torch")
    if shards == 1:
        torch.save(state, directory / "pytorch_model.bin")
        return
    placed = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
        part = dict(itertools.islice(state.items(), number, None, shards))
        torch.save(part, directory / file)
        placed |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": placed}
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index))


@pytest.fixture(scope="module")
def tiny():
    """A random model of transformers'."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    sizes = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 3, "intermediate_size": 48}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads))


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("form", ["one file", "shards", "pickled", "pickled shards"])
def test_every_tensor_of_a_real_checkpoint_is_read_as_it_was_saved(tiny, form, kind, tmp_path):
    torch = pytest.importorskip("torch")
    model = tiny.to(getattr(torch, kind))
    if form == "one file":
        model.save_pretrained(tmp_path)
    elif form == "shards":
        model.save_pretrained(tmp_path, max_shard_size="20KB")
        assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    else:
        save_pickled(model.state_dict(), tmp_path, 1 if form == "pickled" else 3)
    files = TensorFiles(tmp_path)
    wanted = {name: from_torch(tensor) for name, tensor in model.state_dict().items()}
    assert files.names() == set(wanted)
    for name, tensor in wanted.items():
        assert files.shape(name) == tensor.shape and files.dtype(name) == TYPES[kind]
        assert same(files.read(name), tensor)


bounds = st.none() | st.integers(-12, 12)
shapes = st.lists(st.integers(0, 7), max_size=3).map(tuple)


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pickled"])
@hypothesis.given(shape=shapes, dtype=st.sampled_from(sorted(TYPES)), start=bounds, stop=bounds)
@hypothesis.settings(max_examples=60)
def test_any_rows_are_those_of_the_whole(pickled, shape, dtype, start, stop):
    tensor = values(shape, TYPES[dtype])
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if pickled:
            torch = pytest.importorskip("torch")
            state = torch.from_numpy(tensor.astype(np.float64)).to(getattr(torch, dtype))
            save_pickled({"before": torch.ones(5), "it": state}, directory)
        else:
            before = np.ones(5, np.float16)
            save_file({"before": before, "it": tensor}, directory / "model.safetensors")
        rows = TensorFiles(directory).read("it", start, stop)
    assert same(rows, tensor[start:stop] if shape else tensor)


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pickled"])
@hypothesis.given(rows=st.integers(1, 9), step=st.integers(1, 10))
@hypothesis.settings(max_examples=10)
def test_chunks_together_are_the_whole(pickled, rows, step):
    tensor = values((rows, 3), np.float32)
    with tempfile.TemporaryDirectory() as name:
        if pickled:
            torch = pytest.importorskip("torch")
            # As a tied or transposed weight is kept: a view of a larger, strided storage.
            wide = torch.zeros(5, rows + 2)
            wide[1:4, 2:] = torch.from_numpy(tensor).T
            save_pickled({"it": wide[1:4, 2:].T}, Path(name))
        else:
            save_file({"it": tensor}, Path(name) / "model.safetensors")
        files = TensorFiles(name)
        chunks = [files.read("it", start, start + step) for start in range(0, rows, step)]
    assert same(np.concatenate(chunks), tensor)


MEMORY = """
import re, sys
from pathlib import Path
from xcot_jax.models.tensor_files import TensorFiles
status = Path("/proc/self/status")  # ru_maxrss would begin with the parent's.
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1]) * 1024
files = TensorFiles(sys.argv[1])
files.read("small")
before = peak()
for start in range(0, files.shape("large")[0], 256):
    files.read("large", start, start + 256)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells of its memory")
@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pickled"])
def test_the_host_holds_rows_not_tensors(pickled, tmp_path):
    large = np.ones((4096, 4096), np.float32)
    if pickled:
        torch = pytest.importorskip("torch")
        save_pickled({"large": torch.from_numpy(large), "small": torch.ones(2)}, tmp_path)
    else:
        save_file({"large": large, "small": np.ones(2)}, tmp_path / "model.safetensors")
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    growth = int(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    assert growth < large.nbytes / 2  # Of which a sixteenth is read at a time.


def test_safetensors_come_before_pickles_and_one_file_before_shards(tmp_path):
    save_pickled({"pickled": pytest.importorskip("torch").ones(2)}, tmp_path)
    save_file({"sharded": np.ones(2)}, tmp_path / "a.safetensors")
    placed = {"weight_map": {"sharded": "a.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(placed))
    assert TensorFiles(tmp_path).names() == {"sharded"}
    save_file({"single": np.ones(2)}, tmp_path / "model.safetensors")
    assert TensorFiles(tmp_path).names() == {"single"}


def test_an_index_decides_between_shards_and_hides_nothing(tmp_path):
    save_file({"a": np.ones(2), "b": np.ones(2)}, tmp_path / "1.safetensors")
    save_file({"a": np.zeros(2), "c": np.ones(2)}, tmp_path / "2.safetensors")
    placed = {"weight_map": {"a": "1.safetensors", "c": "2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(placed))
    files = TensorFiles(tmp_path)
    assert files.names() == {"a", "b", "c"}
    assert files.read("a").all()


def sharded(directory):
    """Two safetensors shards with an index."""
    save_file({"a": np.ones((4, 3), np.float32)}, directory / "1.safetensors")
    save_file({"b": np.ones(2, np.float32)}, directory / "2.safetensors")
    write_index(directory, {"a": "1.safetensors", "b": "2.safetensors"})


def write_index(directory, placed):
    text = json.dumps({"metadata": {}, "weight_map": placed})
    (directory / "model.safetensors.index.json").write_text(text)


def damage(file, change):
    file.write_bytes(change(file.read_bytes()))


def pickle_of(what):
    def make(directory):
        torch = pytest.importorskip("torch")
        torch.save(what(torch), directory / "pytorch_model.bin")

    return make


BROKEN = {
    "nothing there": (
        lambda d: None,
        "holds no weights: none of model.safetensors, model.safetensors.index.json, "
        "pytorch_model.bin, pytorch_model.bin.index.json is there",
    ),
    "index is no JSON": (
        lambda d: (d / "model.safetensors.index.json").write_text('{"weight_map": {'),
        "model.safetensors.index.json is not JSON with a weight_map .*again",
    ),
    "index is no text": (
        lambda d: (d / "model.safetensors.index.json").write_bytes(b"\xff\xfe\x00"),
        "model.safetensors.index.json is not JSON with a weight_map .*again",
    ),
    "index without weight_map": (
        lambda d: (d / "model.safetensors.index.json").write_text('{"metadata": {}}'),
        "model.safetensors.index.json is not JSON with a weight_map .*'weight_map'",
    ),
    "index is a list": (
        lambda d: (d / "model.safetensors.index.json").write_text('[{"weight_map": {}}]'),
        "model.safetensors.index.json is not JSON with a weight_map ",
    ),
    "weight_map of numbers": (
        lambda d: write_index(d, {"a": 1, "b": 2}),
        "model.safetensors.index.json is not JSON with a weight_map of tensor and file names",
    ),
    "all shards missing": (
        lambda d: (sharded(d), [(d / f"{n}.safetensors").unlink() for n in (1, 2)]),
        "lacks 1.safetensors, 2.safetensors, which model.safetensors.index.json names",
    ),
    "shard cut short": (
        lambda d: (sharded(d), damage(d / "2.safetensors", lambda b: b[:-1])),
        "2.safetensors is broken .*copy or download it again",
    ),
    "shard with a tail": (
        lambda d: (sharded(d), damage(d / "1.safetensors", lambda b: b + b"x")),
        "1.safetensors is broken .*copy or download it again",
    ),
    "empty file": (
        lambda d: (d / "model.safetensors").write_bytes(b""),
        "model.safetensors is broken .*copy or download it again",
    ),
    "a pointer of git-lfs": (
        lambda d: (d / "model.safetensors").write_text("version https://git-lfs.github.com/spec"),
        "model.safetensors is broken .*copy or download it again",
    ),
    "tensors astray": (
        lambda d: (sharded(d), write_index(d, {"b": "1.safetensors", "a": "2.safetensors"})),
        "index.json places tensors in files that do not hold them.*"
        "a: 2.safetensors\n  b: 1.safetensors",
    ),
    "pickle cut short": (
        lambda d: (
            pickle_of(lambda torch: {"a": torch.ones(9)})(d),
            damage(d / "pytorch_model.bin", lambda b: b[:-50]),
        ),
        "pytorch_model.bin is broken .*copy or download it again",
    ),
    "pickle of noise": (
        lambda d: (pickle_of(lambda t: {})(d), damage(d / "pytorch_model.bin", lambda b: b"no")),
        "pytorch_model.bin is broken .*copy or download it again",
    ),
    "pickle of a module": (
        pickle_of(lambda torch: torch.nn.Linear(2, 2)),
        "pytorch_model.bin is broken or holds other objects than tensors; .*state_dict",
    ),
    "pickle of a list": (
        pickle_of(lambda torch: [torch.ones(2)]),
        "pytorch_model.bin holds a list, no state dict; .*state_dict",
    ),
    "pickle of more than weights": (
        pickle_of(lambda torch: {"state_dict": {"a": torch.ones(2)}, "epoch": 3}),
        "pytorch_model.bin holds a dict as 'state_dict', no tensor; .*state_dict",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_directory_is_an_error_that_says_what_and_what_to_do(case, tmp_path):
    make, message = BROKEN[case]
    make(tmp_path)
    with pytest.raises(CheckpointError, match=f"(?s){message}") as caught:
        TensorFiles(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "weights_only" not in str(caught.value)  # Torch's advice to run what the file holds.


def test_a_file_that_loses_its_end_while_it_is_read_is_an_error(tmp_path):
    save_file({"a": np.ones((4, 3), np.float32)}, tmp_path / "model.safetensors")
    files = TensorFiles(tmp_path)
    damage(tmp_path / "model.safetensors", lambda content: content[:-8])
    assert files.read("a", 0, 3).all()
    with pytest.raises(CheckpointError, match=r"model.safetensors is broken \(it ends within a\)"):
        files.read("a", 3, 4)


def test_quantised_tensors_are_refused_by_name_and_the_others_read(tmp_path):
    torch = pytest.importorskip("torch")
    save_torch = pytest.importorskip("safetensors.torch").save_file
    codes = {"int8": torch.int8, "fp8": torch.float8_e4m3fn, "uint8": torch.uint8}
    state = {name: torch.ones(2).to(dtype) for name, dtype in codes.items()}
    state |= {"scale": torch.full((2,), 0.5)}
    save_torch(state, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "pickled").mkdir()
    save_pickled(state | {"sparse": torch.eye(2).to_sparse()}, tmp_path / "pickled")
    for directory, extra in ((tmp_path, []), (tmp_path / "pickled", ["sparse"])):
        files = TensorFiles(directory)
        for name in [*codes, *extra]:
            assert len(files.shape(name)) in (1, 2)
            for use in (files.dtype, files.read):
                with pytest.raises(CheckpointError, match=f"{name} is stored as .*dequantise"):
                    use(name)
        assert files.read("scale").tolist() == [0.5, 0.5]


def test_pickles_need_a_torch_that_reads_them_safely(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    save_pickled({"a": torch.ones(2)}, tmp_path)
    way_out = r"needs torch 2.6 or newer: pip install 'xcot-jax\[torch\]'"
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "2.5.1")
        with pytest.raises(CheckpointError, match=f"pytorch_model.bin: .*{way_out}, not 2.5.1"):
            TensorFiles(tmp_path)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        with pytest.raises(CheckpointError, match=f"pytorch_model.bin: .*{way_out}$"):
            TensorFiles(tmp_path)
    assert TensorFiles(tmp_path).read("a").all()
