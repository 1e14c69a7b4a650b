"""``shoal autoscaler simulate``: what people see, and the report that it writes."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from shoal.cli.main import cli
from shoal_operator.domain.validation import check_document
from shoal_operator.local.manifest import parse_manifest

EXAMPLES = Path(__file__).parents[2] / "examples/autoscaler"
CLUSTER = """
apiVersion: shoal.dev/v1alpha1
kind: ComputeCluster
metadata: {name: c}
spec:
  autoscaling: {idleTimeoutSeconds: 30}
  workerGroups: [{name: "%s", resources: {CPU: %d}}]
"""
TRACE = '{"at": 0, "count": 6, "resources": {"CPU": 2}, "duration_seconds": 30, "name": "%s"}\n'


@pytest.fixture
def files(tmp_path):
    """A directory with two clusters and a trace."""
    (tmp_path / "small.yaml").write_text(CLUSTER % ("small", 2))
    (tmp_path / "large.yaml").write_text(CLUSTER % ("large", 12))
    (tmp_path / "trace.jsonl").write_text(TRACE % "map")
    return tmp_path


def shoal(*words: object):
    return CliRunner().invoke(cli, ["autoscaler", "simulate", *map(str, words)], catch_exceptions=False)


def test_the_text_says_what_waited_and_what_it_took(files):
    done = shoal("-f", files / "small.yaml", "--trace", files / "trace.jsonl")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[1] == "work: 6 units came, 6 ended within 1 min 14 s"
    need = next(line.split() for line in lines if line.startswith("  2 CPU"))
    assert need == ["2", "CPU", "6", "13.1", "s", "13.1", "s", "13.1", "s", "13.1", "s", "6", "-"]
    assert next(line.split() for line in lines if line.startswith("  small"))[:4] == ["small", "6", "6", "6"]


def test_json_has_the_same_for_programs(files):
    words = ("-f", files / "small.yaml", "--trace", files / "trace.jsonl", "--json", "--seed", 3)
    [outcome] = json.loads(shoal(*words).stdout)
    assert outcome["units"] == {"came": 6, "started": 6, "ended": 6}
    assert outcome["waitSeconds"]["longest"] == pytest.approx(13.1)
    assert outcome["nodeSeconds"]["used"] == pytest.approx(180)
    assert outcome["decisions"][0]["change"] == 6


def test_two_clusters_stand_side_by_side_and_cover_the_same_time(files):
    words = ("-f", files / "small.yaml", "--compare", files / "large.yaml", "--trace", files / "trace.jsonl")
    head, *rows = shoal(*words).stdout.splitlines()
    assert head.split() == [str(files / "small.yaml"), str(files / "large.yaml")]
    assert next(row.split()[-2:] for row in rows if row.startswith("most nodes")) == ["6", "1"]
    small, large = json.loads(shoal(*words, "--json").stdout)
    assert small["lastedSeconds"] == large["lastedSeconds"]


def test_options_say_how_pods_start(files):
    words = ("-f", files / "small.yaml", "--trace", files / "trace.jsonl", "--json", "--image-pull-seconds", 5)

    def longest(*more: object) -> float:
        return json.loads(shoal(*words, *more).stdout)[0]["waitSeconds"]["longest"]

    assert longest() == pytest.approx(8.1)
    assert longest("--scheduling-seconds", "small=21", "--pod-start-seconds", 0) == pytest.approx(26.1)
    assert longest("--pods-max", 3) > 30
    assert longest("--pod-start-seconds", "uniform:1:50", "--seed", 1) != longest(
        "--pod-start-seconds", "uniform:1:50", "--seed", 2
    )
    assert json.loads(shoal(*words, "--until", 10).stdout)[0]["lastedSeconds"] == 10


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--pod-start-seconds", "soon"], "--pod-start-seconds: 'soon' is not a time; write 5, uniform:2:8"),
        (["--pod-start-seconds", "1", "--pod-start-seconds", "2"], "--pod-start-seconds is given twice for all groups"),
        (["--pods-max", "0"], "--pods-max: '0' is not a whole number"),
        (["--pods-max", "gpu=2"], "there is no worker group `gpu`"),
        (["--compare", "none.yaml"], "none.yaml"),
        (["--output", "/nowhere/report.html"], "cannot write /nowhere/report.html: No such file or directory"),
    ],
)
def test_wrong_options_are_refused_with_what_to_write(files, words, text, capsys, monkeypatch):
    from shoal.cli import main

    base = ["shoal", "autoscaler", "simulate", "-f", str(files / "small.yaml"), "--trace", str(files / "trace.jsonl")]
    monkeypatch.setattr("sys.argv", [*base, *words])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_a_trace_and_a_manifest_with_faults_are_refused_with_their_lines(files):
    (files / "trace.jsonl").write_text('{"at": 0}\nno\n')
    done = shoal("-f", files / "small.yaml", "--trace", files / "trace.jsonl")
    assert done.exit_code == 2
    assert f"error: {files / 'trace.jsonl'}: line 1: resources: must be" in done.stderr
    assert "line 2: is not JSON" in done.stderr
    (files / "small.yaml").write_text(CLUSTER % ("head", 2))
    done = shoal("-f", files / "small.yaml", "--trace", files / "trace.jsonl")
    assert done.exit_code == 2
    assert f"error: {files / 'small.yaml'}:7:" in done.stderr
    (files / "small.yaml").write_text("{apiVersion: v1, kind: Pod, metadata: {name: p}}")
    done = shoal("-f", files / "small.yaml", "--trace", files / "trace.jsonl")
    assert "it has no clusters, and one is simulated" in done.stderr


def test_a_line_without_an_end_is_not_held(files):
    with (files / "trace.jsonl").open("wb") as sparse:
        sparse.truncate(2**40)
    done = shoal("-f", files / "small.yaml", "--trace", files / "trace.jsonl")
    assert done.exit_code == 2
    assert "line 1: has more than the 262144 bytes of a line" in done.stderr


def test_the_cluster_of_a_job_is_simulated(files):
    job = {"entrypoint": "python -c pass", "clusterSpec": {"workerGroups": [{"name": "g", "resources": {"CPU": 2}}]}}
    body = {"apiVersion": "shoal.dev/v1alpha1", "kind": "ComputeJob", "metadata": {"name": "j"}, "spec": job}
    (files / "job.yaml").write_text(json.dumps(body))
    done = shoal("-f", files / "job.yaml", "--trace", files / "trace.jsonl")
    assert "cluster j," in done.stdout


class Page(HTMLParser):
    """Open elements, and everything that a browser would load or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: dict[str, int] = {}
        self.outside: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        names = {name for name, _ in attrs}
        if tag in {"script", "link", "img", "iframe", "object"} or names & {"src", "href"}:
            self.outside.append(tag)
        if any(name.startswith("on") for name in names):
            self.outside.append(f"{tag} {names}")
        if tag not in {"meta", "line", "rect"} and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        self.words.append(data)


def test_the_report_is_one_whole_page_that_loads_nothing(files):
    (files / "trace.jsonl").write_text(TRACE % "<script>alert(1)</script>" + TRACE % "x")
    words = ("-f", files / "small.yaml", "--compare", files / "large.yaml", "--trace", files / "trace.jsonl")
    done = shoal(*words, "--output", files / "report.html", "--until", 100, "--pods-max", 2)
    assert done.exit_code == 0
    text = (files / "report.html").read_text()
    page = Page(text)
    assert (page.open, page.outside) == ([], [])
    assert "url(" not in text
    assert page.tags["svg"] >= 8
    assert "<script>alert(1)</script>" in "".join(page.words), "names are shown as they are"
    points = [float(number) for d in re.findall(r' d="M([^"]*)Z"', text) for number in re.findall(r"-?[\d.]+", d)]
    assert points
    assert all(0 <= number <= 640 for number in points), "curves stay in their chart"
    assert shoal(*words, "--output", files / "again.html", "--until", 100, "--pods-max", 2).exit_code == 0
    assert (files / "again.html").read_text() == text, "the same question gives the same page"


@pytest.mark.parametrize("trace", sorted(EXAMPLES.glob("*.jsonl")), ids=lambda path: path.stem)
def test_examples_run_to_their_end(trace, tmp_path):
    done = shoal("-f", trace.with_suffix(".yaml"), "--trace", trace, "--json", "-o", tmp_path / "report.html")
    [outcome] = json.loads(done.stdout)
    assert outcome["units"]["came"] == outcome["units"]["ended"] > 200
    assert outcome["settled"]
    assert len(trace.read_text().splitlines()) < 200


@pytest.mark.parametrize("manifest", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_clusters_that_the_operator_takes(manifest):
    [document] = parse_manifest(manifest.read_text(), manifest.name)
    assert check_document(document.body) == []
