"""`cache` + `trial`s + `predictions` + `selection` -> `report`: what a decision is made on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from oodtune import __version__
from oodtune.artifact import create_artifact, write_json
from oodtune.combine.members import member_curve
from oodtune.config import ReportConfig, StageParams
from oodtune.data.cache import Cache
from oodtune.evaluate.chart import Figure
from oodtune.evaluate.classes import class_map, confusion
from oodtune.evaluate.confidence import reliability_figure, risk_figure
from oodtune.evaluate.cost import Training, row_costs, total_cost
from oodtune.evaluate.curves import curve_figure
from oodtune.evaluate.differences import difference_table
from oodtune.evaluate.members import Curve, CurveOf, member_figure
from oodtune.evaluate.metrics import Logits
from oodtune.evaluate.mistakes import Tile, encode_tile, worst_mistakes
from oodtune.evaluate.page import Page, render_figure, render_markdown, render_page
from oodtune.evaluate.palette import RowStyle, row_styles
from oodtune.evaluate.predictions import Predictions
from oodtune.evaluate.rates import rate_figure, rates_of
from oodtune.evaluate.reading import Reading, read_everything
from oodtune.evaluate.scatter import scatter_figure
from oodtune.evaluate.selection import regret
from oodtune.evaluate.table import lodo_table
from oodtune.progress import progress_bar
from oodtune.stages import report_files as files
from oodtune.stages import report_inputs as sources

_SEED = 0
"""Of the random subsets of members."""


class Params(StageParams):
    report: ReportConfig


def run(
    cache: Path | str,
    trials: Sequence[Path | str],
    predictions: Path | str,
    selection: Path | str,
    out: Path | str,
    params: Params,
) -> None:
    """Write a `report` artifact. Raises ArtifactError if its inputs do not belong together."""
    inputs = sources.open_inputs(cache, trials, predictions, selection)
    with create_artifact(Path(out), "report", params, inputs.artifacts) as writer:
        with progress_bar("Report") as progress:
            choice = inputs.choice
            reading = read_everything(inputs.predictions, choice.winner, choice.temperature, _curve_of(_SEED), progress)
        page = _page(inputs, reading, params.report)
        _write_pages(writer.path, page)
        summary = {
            "title": page.title,
            "choice": choice.model_dump(mode="json"),
            "table": page.table.model_dump(mode="json"),
            "confusion": {"classes": page.confusion.classes, "counts": page.confusion.counts},
        }
        write_json(writer.path / "summary.json", summary)
        write_json(writer.path / "metrics.json", files.summarise_metrics(page.table, choice))
        files.write_metrics(writer.path / "metrics.csv", reading.results, inputs.predictions.classes)
        files.write_points(writer.path / "points.csv", reading.scores)
        files.write_curves(writer.path / "curves.csv", inputs.trials, inputs.logs)
        files.write_costs(writer.path / "costs.csv", inputs.trials, inputs.trial_costs)


def _page(inputs: sources.Inputs, reading: Reading, config: ReportConfig) -> Page:
    choice, classes, scores = inputs.choice, inputs.predictions.classes, reading.scores
    picks = {target: pick.model_dump() for target, pick in choice.picks.items()}
    styles = row_styles(scores)
    target, trainings = choice.target_domain, _trainings(inputs)
    picked = {target: pick.ood for target, pick in choice.picks.items()}
    return Page(
        title=config.title,
        choice=choice,
        table=lodo_table(scores, picks, choice.is_ceiling),
        differences=difference_table(scores, picks),
        styles=styles,
        figures=_figures(inputs, reading, picks, styles),
        winner=reading.winner,
        class_map=class_map(reading.winner, reading.baseline, classes),
        confusion=confusion(reading.judged[target].raw, classes),
        tiles=_tiles(inputs.cache, inputs.predictions, reading, config.mistakes),
        credits=sources.image_credits(inputs.cache, target),
        costs=row_costs([one.model for one in reading.results], trainings),
        total=total_cost(trainings.values()),
        regret={} if choice.is_ceiling else regret(scores, picked),
        member_stride=max((one.stride for one in reading.members), default=1),
        settings=sources.shared_settings(inputs.trials),
        origins=sources.origins(inputs),
        missing=inputs.predictions.artifact.details.get("missing", ()),
        version=__version__,
    )


def _figures(
    inputs: sources.Inputs,
    reading: Reading,
    picks: Mapping[str, Mapping[str, object]],
    styles: Mapping[str, RowStyle],
) -> dict[str, Figure]:
    target = inputs.choice.target_domain
    shown = [trial for trial in inputs.trials if trial.record.trial.target_domain in inputs.predictions.domains]
    figures = (
        scatter_figure(reading.scores, picks, styles),
        rate_figure(reading.scores, rates_of(sources.method_settings(shown))),
        reliability_figure(reading.judged, target),
        risk_figure(reading.judged, target),
        member_figure(reading.members),
        curve_figure([sources.curve_of_trial(trial, inputs.logs[trial.name]) for trial in shown], styles),
    )
    return {figure.name: figure for figure in figures if figure is not None}


def _trainings(inputs: sources.Inputs) -> dict[str, Training]:
    return {
        trial.name: sources.training_of(
            trial,
            len(inputs.cache.source_domains(trial.record.trial.target_domain)),
            inputs.trial_costs.get(trial.name),
        )
        for trial in inputs.trials
    }


def _tiles(cache: Cache, predictions: Predictions, reading: Reading, most: int) -> list[Tile]:
    """Return the worst mistakes on the target domain, with their images."""
    target = reading.winner.model.target_domain
    mistakes = worst_mistakes(reading.judged[target].calibrated, reading.target_ids, predictions.classes, most)
    tiles = {}
    for _, split in predictions.whole(target):
        examples = cache.examples(target, split)
        places = {name: place for place, name in enumerate(examples.ids)}
        for mistake in mistakes:
            if (place := places.get(mistake.id)) is not None:
                tiles[mistake.id] = encode_tile(mistake, examples.images[place : place + 1][0])
    return [tiles[mistake.id] for mistake in mistakes]


def _curve_of(seed: int) -> CurveOf:
    """Return `member_curve` in the form that evaluation asks for."""

    def curve_of(logits: Mapping[str, Logits], score: Callable[[Logits], float], num_subsets: int) -> Curve:
        return [(one.size, one.mean) for one in member_curve(logits, score, num_subsets, seed)]

    return curve_of


def _write_pages(directory: Path, page: Page) -> None:
    (directory / "report.html").write_text(render_page(page), encoding="utf-8")
    (directory / "report.md").write_text(render_markdown(page), encoding="utf-8")
    (directory / "table.md").write_text(page.table.to_markdown(), encoding="utf-8")
    (directory / "figures").mkdir()
    for name, figure in page.figures.items():
        svg = render_figure(figure, page.styles)
        (directory / "figures" / f"{name}.svg").write_text(svg, encoding="utf-8")
    if page.tiles:
        (directory / "mistakes").mkdir()
    for number, tile in enumerate(page.tiles, 1):
        (directory / "mistakes" / f"{number:02d}.jpg").write_bytes(tile.jpeg)
