"""Weight averages of trials that share an initial state."""

from torch import Tensor

from oodtune.combine.alike import Ingredients, Statistics
from oodtune.combine.sums import Sums


def uniform_soup(ingredients: Ingredients, statistics: Statistics = "equal") -> dict[str, Tensor]:
    """Return the mean of all ingredients' weights, tensor by tensor.

    Uniform soup of Wortsman et al., "Model soups", arXiv 2203.05482, section 2; with one shared initial
    state it is DiWA's uniform average (Rame et al., arXiv 2205.09739). Memory is needed for one state at a
    time, beside sums as large as two. Sums are in float64 and in the order of names, so the result does not
    depend on the order of `ingredients`.

    `statistics` says whether batch-norm statistics must be equal, being frozen in training, or are averaged,
    to be estimated anew (`oodtune.model.statistics`). Integers cannot be averaged and must be equal.
    Raises ArtifactError if they are not, or if names, shapes or types differ.
    """
    assert ingredients, "a soup needs an ingredient"
    sums = Sums("soup", statistics)
    for name in sorted(ingredients):
        sums.add(name, ingredients[name]())  # not bound to a name here: it would outlive the loading of the next
    return sums.take_mean()
