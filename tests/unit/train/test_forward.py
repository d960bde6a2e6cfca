import shutil

import pytest
import torch
from torch import Tensor

from oodtune.config import MethodConfig
from oodtune.errors import ConfigError
from oodtune.train.forward import create_forward
from oodtune.train.history import State
from oodtune.train.loop import Surroundings
from oodtune.train.ranks import Ranks
from tests.fixtures.toy_training import CONFIG, PLAIN, ToySource, draw_images, equal, make_network, train_toy

pytestmark = pytest.mark.xdist_group("forward")  # groups begin first: a long test alone would be the last to end

ALONE = Ranks(torch.device("cpu"))


def test_by_default_the_forward_pass_is_the_network() -> None:
    network = make_network()
    assert create_forward(network, CONFIG, PLAIN, ALONE) is network


def test_cuda_graphs_are_refused_on_a_cpu() -> None:
    config = CONFIG.model_copy(update={"compile": "graphs"})
    with pytest.raises(ConfigError, match=r"train\.compile: expected none or kernels on cpu, found 'graphs'"):
        create_forward(make_network(), config, PLAIN, ALONE)


def test_mixout_cannot_be_compiled() -> None:
    config = CONFIG.model_copy(update={"compile": "kernels"})
    with pytest.raises(ConfigError, match="expected none with mixout"):
        create_forward(make_network(), config, MethodConfig(mixout=0.5), ALONE)


def test_ranks_with_moving_batch_norm_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.freeze_batch_norm: expected true where 2 processes train together"):
        create_forward(make_network().train(), CONFIG, PLAIN, Ranks(torch.device("cpu"), 0, 2))


def test_states_are_kept_at_the_steps_that_were_asked_for() -> None:
    kept: dict[int, State] = {}

    def keep(step: int, state: State) -> None:
        kept[step] = {name: tensor.clone() for name, tensor in state.items()}

    config = CONFIG.model_copy(update={"keep_every": 10})
    train_toy(config, source=ToySource(), around=Surroundings(keep=keep))
    assert list(kept) == [10, 20]
    shorter, _ = train_toy(CONFIG.model_copy(update={"steps": 20}))
    assert equal(kept[20], shorter.state_dict())


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_trains_the_weights_of_the_network() -> None:
    compiled, _ = train_toy(CONFIG.model_copy(update={"compile": "kernels"}))
    plain, _ = train_toy()
    for name, weight in plain.state_dict().items():
        assert torch.allclose(compiled.state_dict()[name], weight, atol=1e-4), name
    pixels, _ = draw_images(4, torch.Generator().manual_seed(0))
    logits: Tensor = compiled.eval()(pixels)
    assert torch.allclose(logits, plain.eval()(pixels), atol=1e-3)
