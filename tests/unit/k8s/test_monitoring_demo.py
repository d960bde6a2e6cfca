"""Facts of the demonstration's parts, before a server or Prometheus is started."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from k8s.monitoring_demo.__main__ import main
from k8s.monitoring_demo.grafana import provision, showing
from k8s.monitoring_demo.images import MOST_IMAGES, read_streams
from k8s.monitoring_demo.load import NO_ANSWER, Load
from k8s.monitoring_demo.processes import running
from k8s.monitoring_demo.prometheus import config_of, find_prometheus, read_rules
from k8s.monitoring_demo.view import View
from oodtune.artifact import create_artifact, write_json
from oodtune.data.index import IndexRow, write_index
from oodtune.domain_scores import DomainScores
from oodtune.errors import UserError
from tests.fixtures.prometheus import free_port, needs_prometheus

ROWS = [
    IndexRow(f"{domain}/cat/{split}.png", domain, "cat", split) for domain in ("day", "fog") for split in ("in", "out")
]


@pytest.fixture
def bundle(tmp_path):
    """Return a bundle that knows the domain day."""
    scores = DomainScores(domains=("day",), num_images=1, quantiles={}, class_shares={})
    with create_artifact(tmp_path / "bundle", "bundle") as writer:
        write_json(writer.path / "domains.json", scores.model_dump(mode="json"))
    return tmp_path / "bundle"


def write_dataset(directory, rows):
    with create_artifact(directory, "dataset") as writer:
        write_index(rows, writer.path / "index.csv")
        for row in rows:
            path = writer.path / "images" / row.id
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row.id.encode())
    return directory


@pytest.fixture
def endpoint():
    """Yield the address of a server that refuses every image `bad`, and the bodies that it got, by path."""
    bodies = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            bodies[self.path, body] += 1
            self.send_response(503 if body == b"bad" else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_request_is_sent_once_and_its_status_counted(endpoint):
    url, bodies = endpoint
    load = Load(url, per_second=1000)
    load.send([b"one", b"two", b"bad"], 30)
    assert load.statuses == {200: 20, 503: 10}
    assert bodies == {("/v1/classify", body): 10 for body in (b"one", b"two", b"bad")}


def test_load_keeps_its_pace(endpoint):
    begun_s = time.monotonic()
    Load(endpoint[0], per_second=50).send([b"one"], 11)
    assert time.monotonic() - begun_s >= 10 / 50


def test_a_server_that_does_not_answer_is_counted_and_not_an_error():
    load = Load(f"http://127.0.0.1:{free_port()}", per_second=1000)
    load.send([b"one"], 5)
    assert load.statuses == {NO_ANSWER: 5}


def test_stopped_load_sends_no_more(endpoint):
    load = Load(endpoint[0], per_second=1)
    sender = threading.Thread(target=load.send, args=([b"one"], 1000))
    sender.start()
    load.stop()
    sender.join(5)
    assert not sender.is_alive()
    assert load.statuses.total() <= load.num_clients


def test_a_dataset_gives_out_splits_of_known_domains_and_all_of_others(tmp_path, bundle):
    streams = read_streams(None, None, write_dataset(tmp_path / "dataset", ROWS), bundle)
    assert streams.in_domain == (b"day/cat/out.png",)
    assert sorted(streams.drifted) == [b"fog/cat/in.png", b"fog/cat/out.png"]


def test_two_directories_give_images_of_any_depth_and_no_other_files(tmp_path):
    for name in ("in/a/1.PNG", "in/a/notes.txt", "drifted/2.jpeg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    streams = read_streams(tmp_path / "in", tmp_path / "drifted", tmp_path, tmp_path)
    assert streams == ((b"in/a/1.PNG",), (b"drifted/2.jpeg",))


def test_of_many_images_some_of_all_are_sent(tmp_path):
    for place in range(2 * MOST_IMAGES):
        (tmp_path / f"{place:04}.png").write_bytes(str(place).encode())
    streams = read_streams(tmp_path, tmp_path, tmp_path, tmp_path)
    assert len(set(streams.in_domain)) == MOST_IMAGES
    assert max(map(int, streams.in_domain)) > MOST_IMAGES


def test_what_cannot_be_sent_is_refused_with_what_to_give(tmp_path, bundle):
    known = write_dataset(tmp_path / "known", [row for row in ROWS if row.domain == "day"])
    give = "give --images DIRECTORY"
    with pytest.raises(UserError, match=f"expected the dataset .* found no .*; {give}"):
        read_streams(None, None, tmp_path / "none", bundle)
    with pytest.raises(UserError, match=f"expected two directories of images, found one; {give}"):
        read_streams(tmp_path, None, tmp_path, bundle)
    with pytest.raises(UserError, match=rf"\['day'\], and one or more others, found \['day'\]; {give}"):
        read_streams(None, None, known, bundle)
    with pytest.raises(UserError, match="expected a directory with images"):
        read_streams(bundle, bundle, known, bundle)


@needs_prometheus
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["monitoring_demo", "--bundle", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "`oodtune export`" in line


def test_without_prometheus_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="found none on PATH; on Debian: apt-get install prometheus"):
        find_prometheus()


def test_rules_differ_from_the_overlays_only_in_how_long_alerts_wait():
    rules, hasty = ([rule for group in read_rules(wait)["groups"] for rule in group["rules"]] for wait in (None, 3))
    assert {rule["for"] for rule in hasty if "for" in rule} == {"3s"}
    assert [{**rule, "for": ""} for rule in rules] == [{**rule, "for": ""} for rule in hasty]
    assert {"OodtuneDrift", "OodtuneErrorBudgetBurnsFast"} <= {rule.get("alert") for rule in rules}


@needs_prometheus
def test_promtool_accepts_the_configuration(tmp_path):
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config_of("127.0.0.1:8080")), encoding="utf-8")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(read_rules(1)), encoding="utf-8")
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_program_that_ends_at_once_is_an_error_with_its_last_line(tmp_path):
    command = [sys.executable, "-c", "import sys; sys.exit('no such bundle')"]
    url = f"http://127.0.0.1:{free_port()}"
    with (
        pytest.raises(UserError, match=f"to serve {url}; it ended, and said: no such bundle"),
        running(command, url, tmp_path / "log", timeout_s=30),
    ):
        pass


def test_a_program_that_never_answers_is_an_error_with_its_last_line(tmp_path):
    command = [sys.executable, "-c", "import time; print('still loading', flush=True); time.sleep(60)"]
    url = f"http://127.0.0.1:{free_port()}"
    with (
        pytest.raises(UserError, match="within 1 s; it said: still loading"),
        running(command, url, tmp_path / "log", timeout_s=1),
    ):
        pass


def test_a_program_is_gone_after_its_block(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with running(command, f"http://127.0.0.1:{port}", tmp_path / "log", timeout_s=30) as process:
        assert process.poll() is None
    assert process.poll() is not None


def test_a_port_that_another_program_answers_is_refused(tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with (
        running(command, url, tmp_path / "log", timeout_s=30),
        pytest.raises(UserError, match="expected a free port, found another program"),
        running(command, url, tmp_path / "other", timeout_s=30),
    ):
        pass


def test_a_line_shows_what_is_unknown_as_unknown():
    assert View(None, None, None, None, ()).line("drifted") == (
        "drifted: - requests/s, p99 - s, PSI -, out of domain -, firing: none"
    )
    assert View(20.0, 0.0213, 1.7, 0.5, ("OodtuneDrift",)).line("drifted") == (
        "drifted: 20.0 requests/s, p99 0.021 s, PSI 1.70, out of domain 50%, firing: OodtuneDrift"
    )


def test_grafana_is_given_prometheus_and_the_dashboard(tmp_path):
    provision("http://127.0.0.1:9091", tmp_path)
    (source,) = yaml.safe_load((tmp_path / "datasources/prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((tmp_path / "dashboards/oodtune.yaml").read_text())["providers"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://127.0.0.1:9091", True)
    (shown,) = (tmp_path / "shown").iterdir()
    assert provider["options"]["path"] == str(shown.parent)
    assert json.loads(shown.read_text(encoding="utf-8"))["uid"] == "oodtune"


@pytest.mark.skipif(shutil.which("grafana-server") is not None, reason="there is a Grafana here")
def test_without_grafana_the_user_is_told_how_to_import_the_dashboard(tmp_path):
    with showing("http://127.0.0.1:9091", 3000, tmp_path) as line:
        assert line.startswith(
            "no Grafana here; in one that can reach http://127.0.0.1:9091: Dashboards > New > Import"
        )
        assert line.endswith("k8s/overlays/monitoring/dashboard.json")
