from pathlib import Path

import pytest
import torch
from torch import Tensor

from oodtune.errors import ArtifactError
from oodtune.model.weights import digest_weights, load_weights, save_weights


@pytest.fixture
def state() -> dict[str, Tensor]:
    values = torch.arange(6.0).reshape(2, 3)
    return {
        "head.weight": values,
        "bn.num_batches_tracked": torch.tensor(7),
        "half": values.to(torch.bfloat16),
    }


def test_saved_weights_load_unchanged(state: dict[str, Tensor], tmp_path: Path) -> None:
    save_weights(state, tmp_path / "new" / "weights.safetensors")
    loaded = load_weights(tmp_path / "new" / "weights.safetensors")
    assert loaded.keys() == state.keys()
    assert all(loaded[name].dtype == state[name].dtype for name in state)
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_equal_weights_give_equal_bytes(state: dict[str, Tensor], tmp_path: Path) -> None:
    save_weights(state, tmp_path / "a")
    save_weights(dict(reversed(state.items())), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_in_any_memory_layout_are_saved(tmp_path: Path) -> None:
    kernel = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    save_weights({"kernel": kernel, "transposed": kernel[0, 0].T}, tmp_path / "weights.safetensors")
    loaded = load_weights(tmp_path / "weights.safetensors")
    assert torch.equal(loaded["kernel"], kernel)
    assert torch.equal(loaded["transposed"], kernel[0, 0].T)


def test_digest_does_not_depend_on_key_order_or_memory_layout(state: dict[str, Tensor]) -> None:
    assert digest_weights(dict(reversed(state.items()))) == digest_weights(state)
    strided = state["head.weight"].T.contiguous().T
    assert digest_weights({**state, "head.weight": strided}) == digest_weights(state)


@pytest.mark.parametrize("name", ["head.weight", "bn.num_batches_tracked", "half"])
def test_digest_changes_with_one_value(state: dict[str, Tensor], name: str) -> None:
    changed = state[name].clone()
    changed.view(-1)[-1] += 1
    assert digest_weights({**state, name: changed}) != digest_weights(state)


def test_digest_changes_with_a_name_a_shape_and_a_type(state: dict[str, Tensor]) -> None:
    weight = state.pop("head.weight")
    digests = [
        digest_weights({**state, "head.weight": weight}),
        digest_weights({**state, "tail.weight": weight}),
        digest_weights({**state, "head.weight": weight.reshape(3, 2)}),
        digest_weights({**state, "head.weight": weight.view(torch.int32)}),
    ]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("content", [None, b"", b"these are not weights"])
def test_file_that_is_not_safetensors_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"weights\.safetensors: expected a safetensors file") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)
