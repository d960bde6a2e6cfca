"""How the soups of one target domain are made from its trials."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from oodtune.artifact import Artifact
from oodtune.combine.alike import State, Statistics
from oodtune.combine.greedy import greedy_soup
from oodtune.combine.interpolate import interpolate
from oodtune.combine.model_stock import model_stock
from oodtune.combine.soup import uniform_soup
from oodtune.data.batches import even_batches
from oodtune.data.cache import Cache
from oodtune.evaluate.logits import compute_logits
from oodtune.evaluate.metrics import accuracy
from oodtune.model.initial import initial_network
from oodtune.model.network import Network, build_network
from oodtune.model.statistics import estimate_statistics, moved_norms
from oodtune.model.weights import load_weights
from oodtune.stages.soup_plan import INITIAL, SoupPlan
from oodtune.stages.trials import OpenTrial
from oodtune.trial import Tried


@dataclass
class Kitchen:
    """Makes the soups of one target domain."""

    cache: Cache
    init: Artifact
    target: str
    group: Sequence[OpenTrial]
    device: torch.device

    def make(self, plan: SoupPlan) -> tuple[dict[str, Tensor], tuple[Tried, ...]]:
        """Return the weights of a soup and, of a greedy one, what it tried."""
        tried: tuple[Tried, ...] = ()
        match plan.rule:
            case "uniform":
                state = uniform_soup(self._loaders(plan.ingredients), self.statistics)
            case "greedy" | "greedy_not_worse":
                state, tried = self._make_greedy(plan)
            case "model_stock":
                state = model_stock(self._initial_state(), self._loaders(plan.ingredients), self.statistics).state
            case "between":
                ends = self._load_end(plan.ends[0]), self._load_end(plan.ends[1])
                owners = " and ".join(plan.ends[0]), " and ".join(plan.ends[1])
                state = interpolate(*ends, plan.share, owners, self.statistics)
        return self._with_statistics(state), tried

    @cached_property
    def statistics(self) -> Statistics:
        """Whether the trials' batch-norm statistics were frozen, or moved in training."""
        return "average" if any(trial.record.statistics_move for trial in self.group) else "equal"

    def _make_greedy(self, plan: SoupPlan) -> tuple[dict[str, Tensor], tuple[Tried, ...]]:
        accuracies = {trial.name: trial.record.source_accuracy for trial in self.group}
        soup = greedy_soup(
            self._loaders(plan.ingredients),
            {name: accuracies[name] for name in plan.ingredients},
            self._source_accuracy,
            "better" if plan.rule == "greedy" else "not_worse",
            self.statistics,
        )
        return soup.state, tuple(Tried(name=o.name, score=o.score, accepted=o.accepted) for o in soup.trace)

    def _source_accuracy(self, state: State) -> float:
        """Return the mean accuracy on the source out-splits, as training measures it."""
        self._network.load_state_dict(self._with_statistics(state))
        outs = [self.cache.examples(domain, "out") for domain in self.cache.source_domains(self.target)]
        scores = [accuracy(compute_logits(self._network, one.images, self.device), one.labels) for one in outs]
        return sum(scores) / len(scores)

    def _with_statistics(self, state: State) -> dict[str, Tensor]:
        """Return `state` with statistics of the source in-splits, where training has moved them."""
        if self.statistics == "equal":
            return dict(state)
        self._network.load_state_dict(state)
        sources = [self.cache.examples(domain, "in") for domain in self.cache.source_domains(self.target)]
        estimate_statistics(self._network, even_batches(sources, self.device), self._moved_norms)
        return {name: tensor.detach().cpu().clone() for name, tensor in self._network.state_dict().items()}

    @cached_property
    def _network(self) -> Network:
        return build_network(self.group[0].record.network).to(self.device)

    @cached_property
    def _moved_norms(self) -> list[str]:
        return moved_norms(load_weights(self.group[0].weights_path), self._initial_state())

    def _initial_state(self) -> dict[str, Tensor]:
        network, digest = initial_network(self.init, self.target, dropout=0.0)
        assert digest == self.group[0].record.init_digest
        return network.state_dict()

    def _load_end(self, names: tuple[str, ...]) -> State:
        return self._initial_state() if names == INITIAL else uniform_soup(self._loaders(names), self.statistics)

    def _loaders(self, names: Sequence[str]) -> dict[str, Callable[[], State]]:
        files = {trial.name: trial.weights_path for trial in self.group}
        for trial in self.group:
            files |= {name: trial.artifact.path / file for name, file in trial.trajectory.items()}
        return {name: partial(load_weights, files[name]) for name in names}
