"""Nothing that oodtune reads is unpickled: not by our code, and not by the libraries that it reads with.

Python tells of every class that an unpickler looks up, by the audit event `pickle.find_class`; torch's own restricted
unpickler, which loads tensors and nothing else, looks none up this way.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import oodtune
from tests.unit.tiny_bundle import encode, random_images, tiny_bundle

SOURCES = sorted(Path(oodtune.__file__).parent.rglob("*.py"))
UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}

WATCHED = """
import sys

seen = []
sys.addaudithook(lambda event, arguments: seen.append(arguments) if event == "pickle.find_class" else None)
{code}
print("unpickled", len(seen), seen[:3])
"""


def calls(tree: ast.AST, *names: str) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) in names]


def keyword(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(one.value) for one in call.keywords if one.arg == name), None)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(Path(oodtune.__file__).parent).as_posix())
def test_no_module_unpickles(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported}.isdisjoint(UNPICKLING)
    assert all(keyword(call, "weights_only") is True for call in calls(tree, "torch.load"))
    assert all(keyword(call, "allow_pickle") is False for call in calls(tree, "np.load", "numpy.load"))
    assert not calls(tree, "eval", "exec", "torch.hub.load", "yaml.load", "yaml.unsafe_load", "pd.read_pickle")


def watch(code: str, cwd: Path) -> str:
    command = [sys.executable, "-c", WATCHED.format(code=code)]
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()[-1]


def test_the_watch_sees_a_pickle(tmp_path: Path) -> None:
    code = "import pathlib, pickle; pickle.loads(pickle.dumps(pathlib.PurePosixPath('x')))"
    assert watch(code, tmp_path).startswith("unpickled 1")


def test_a_bundle_is_opened_and_predicts_without_unpickling(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(encode(random_images(1, seed=0)[0]))
    code = f"""
from pathlib import Path
from oodtune import decode_image, golden, open_bundle
path = Path({str(tiny_bundle())!r})
bundle = open_bundle(path)
bundle.classify([decode_image(Path("image.png"))])
golden.check_golden(bundle)
"""
    assert watch(code, tmp_path) == "unpickled 0 []"


def test_the_road_from_images_to_logits_reads_nothing_pickled(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from oodtune.config import load_config
from oodtune.stages import cache, combine, evaluate, init, prepare, train
from oodtune.trial import plan_trials
from tests.fixtures.tiny_sweep import tiny_settings, write_settings

here = Path.cwd()
changes = {"train": {"steps": 2, "snapshot_every": 1, "checkpoint_every": 1, "batch_per_domain": 2}}
changes["sweep"] = {"target_domains": ["inverted"], "methods": ["plain", "large_dropout"]}
write_settings(here / "params.yaml", tiny_settings(here, **changes))
config = load_config(here / "params.yaml")
seen.clear()  # what drew the weights is not ours
prepare.run(here / "dataset", prepare.Params.from_config(config), here)
cache.run(here / "dataset", here / "cache", cache.Params.from_config(config))
init.run(here / "cache", here / "init", init.Params.from_config(config), "cpu")
for trial in plan_trials(config.sweep):
    params = train.Params(augment=config.augment, train=config.train, method=config.methods[trial.method])
    train.run(here / "cache", here / "init", here / "trials" / trial.name, params, trial, "cpu")
trials = [here / "trials"]
combine.run(here / "cache", here / "init", trials, here / "soups", combine.Params.from_config(config), "cpu")
out = here / "predictions"
evaluate.run(here / "cache", trials, here / "soups", out, evaluate.Params.from_config(config), "cpu")
"""
    sys_path = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
    assert watch(sys_path + code, tmp_path) == "unpickled 0 []"
