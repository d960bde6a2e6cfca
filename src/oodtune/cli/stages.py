"""One subcommand per stage: read the settings, call the stage."""

from pathlib import Path
from typing import Annotated

import typer

ParamsPath = Annotated[Path, typer.Option("--params", help="The settings file.", show_default=True)]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda; auto is the first GPU, or else the CPU.")]
CachePath = Annotated[Path, typer.Option("--cache", help="A `cache` artifact, from `oodtune cache`.")]
InitPath = Annotated[Path, typer.Option("--init", help="An `init` artifact, from `oodtune init`.")]
TrialPaths = Annotated[
    list[Path], typer.Option("--trials", help="A `trial` artifact or a directory of them; may be repeated.")
]
SoupsPath = Annotated[Path, typer.Option("--soups", help="A `soup` artifact, from `oodtune combine`.")]
PredictionsPath = Annotated[
    Path, typer.Option("--predictions", help="A `predictions` artifact, from `oodtune evaluate`.")
]
SelectionPath = Annotated[Path, typer.Option("--selection", help="A `selection` artifact, from `oodtune select`.")]
OutPath = Annotated[Path, typer.Option("--out", help="Where to write the artifact; replaced when it is finished.")]

DEFAULT_PARAMS = Path("params.yaml")
PANEL = "Stages (each writes one artifact)"


def add_commands(app: typer.Typer) -> None:
    for command in (prepare, cache, init, train, combine, evaluate, select, export, report):
        app.command(rich_help_panel=PANEL)(command)
    app.command(hidden=True)(train_planned)


def prepare(
    out: OutPath,
    params: ParamsPath = DEFAULT_PARAMS,
    downloads_dir: Annotated[Path, typer.Option(help="Where fetched archives are kept.")] = Path(".oodtune/downloads"),
) -> None:
    """Fetch or read the images, check and split them: a `dataset`. Uses section `data`."""
    from oodtune.config import load_config
    from oodtune.stages import prepare as stage

    stage.run(out, stage.Params.from_config(load_config(params)), downloads_dir)


def cache(
    dataset: Annotated[Path, typer.Option(help="A `dataset` artifact, from `oodtune prepare`.")],
    out: OutPath,
    params: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Decode every image once: a `cache`. Uses section `preprocess`."""
    from oodtune.config import load_config
    from oodtune.stages import cache as stage

    stage.run(dataset, out, stage.Params.from_config(load_config(params)))


def init(cache: CachePath, out: OutPath, params: ParamsPath = DEFAULT_PARAMS, device: Device = "auto") -> None:
    """Load the pretrained backbone and probe a head per target domain: an `init`. Uses `backbone`, `probe`, `sweep`."""
    from oodtune.config import load_config
    from oodtune.stages import init as stage

    stage.run(cache, out, stage.Params.from_config(load_config(params)), device)


def train(
    cache: CachePath,
    init: InitPath,
    out: OutPath,
    target_domain: Annotated[str, typer.Option(help="The domain to hold out.")],
    method: Annotated[str, typer.Option(help="A name in section `methods`.")],
    learning_rate: Annotated[float, typer.Option(help="Learning rate.")],
    weight_decay: Annotated[float, typer.Option(help="Weight decay.")],
    seed: Annotated[int, typer.Option(help="Seed of batches, augmentation and dropout.")],
    params: ParamsPath = DEFAULT_PARAMS,
    device: Device = "auto",
) -> None:
    """Fine-tune one network on every domain but the target: a `trial`. Uses `augment`, `train`, `methods`.

    Interrupted at any moment, the same command goes on from the newest checkpoint; on the CPU it ends in the same
    bytes. While it runs, `.NAME.partial/files/log.jsonl` beside `--out NAME` grows by a line with every snapshot.

    `torchrun --nproc-per-node N -m oodtune train ...` trains with N processes, each on its part of every batch and,
    where there are any, on a GPU of its own; on more machines with torchrun's own options. It ends in the weights
    that one process makes, but for rounding.

    Exits with 143 after SIGTERM and with 130 after SIGINT (Ctrl-C), when the step under way is finished and a
    checkpoint is written; with 2 if the settings, the inputs, the disk, the memory or the loss are at fault.
    """
    from oodtune.config import load_config
    from oodtune.stages import train as stage
    from oodtune.trial import Trial

    trial = Trial(
        target_domain=target_domain,
        method=method,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        seed=seed,
    )
    stage.run(cache, init, out, stage.Params.for_trial(load_config(params), trial), trial, device)


def train_planned(
    cache: CachePath,
    init: InitPath,
    out: OutPath,
    item: Annotated[str, typer.Option(help="The trial and its settings, as the plan of a cluster has them.")],
    device: Device = "auto",
) -> None:
    """Train one trial of a plan: what the processes of a cluster's task run under torchrun."""
    from oodtune.stages import train as stage
    from oodtune.stages.planned import PlannedTrial

    planned = PlannedTrial.from_json(item)
    stage.run(cache, init, out, planned.params, planned.trial, device)


def combine(
    cache: CachePath,
    init: InitPath,
    trials: TrialPaths,
    out: OutPath,
    params: ParamsPath = DEFAULT_PARAMS,
    device: Device = "auto",
) -> None:
    """Average the weights of the sweep's trials: a `soup`. Uses sections `sweep`, `combine`."""
    from oodtune.config import load_config
    from oodtune.stages import combine as stage

    stage.run(cache, init, trials, out, stage.Params.from_config(load_config(params)), device)


def evaluate(
    cache: CachePath,
    trials: TrialPaths,
    soups: SoupsPath,
    out: OutPath,
    params: ParamsPath = DEFAULT_PARAMS,
    device: Device = "auto",
) -> None:
    """Store the logits of every trial, soup and ensemble: `predictions`. Uses sections `sweep`, `combine`."""
    from oodtune.config import load_config
    from oodtune.stages import evaluate as stage

    stage.run(cache, trials, soups, out, stage.Params.from_config(load_config(params)), device)


def select(predictions: PredictionsPath, out: OutPath, params: ParamsPath = DEFAULT_PARAMS) -> None:
    """Choose a model by a rule that never looks at the target domain: a `selection`. Uses section `select`."""
    from oodtune.config import load_config
    from oodtune.stages import select as stage

    stage.run(predictions, out, stage.Params.from_config(load_config(params)))


def export(
    cache: CachePath,
    trials: TrialPaths,
    soups: SoupsPath,
    predictions: PredictionsPath,
    selection: SelectionPath,
    out: OutPath,
    params: ParamsPath = DEFAULT_PARAMS,
    commit: Annotated[
        str | None,
        typer.Option(help="Recorded in the bundle's lineage; by default the commit git names here."),
    ] = None,
) -> None:
    """Write the chosen model as ONNX and prove that it predicts the same: a `bundle`. Uses section `export`."""
    from oodtune.cli.commit import current_commit
    from oodtune.config import load_config
    from oodtune.stages import export as stage

    stage.run(
        cache,
        trials,
        soups,
        predictions,
        selection,
        out,
        stage.Params.from_config(load_config(params)),
        commit or current_commit(),
    )


def report(
    cache: CachePath,
    trials: TrialPaths,
    predictions: PredictionsPath,
    selection: SelectionPath,
    out: OutPath,
    params: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Tables and pictures of the whole sweep: a `report`. Uses section `report`."""
    from oodtune.config import load_config
    from oodtune.stages import report as stage

    stage.run(cache, trials, predictions, selection, out, stage.Params.from_config(load_config(params)))
