from pathlib import Path

import pytest

from shoal_operator.settings import Settings, SettingsError, load


def test_without_anything_the_defaults_hold():
    assert load([], {}) == Settings()
    assert Settings().leader_election


def test_flags_win_over_the_environment_and_that_over_defaults():
    environ = {
        "SHOAL_OPERATOR_NAMESPACES": "a, b",
        "SHOAL_OPERATOR_LOG_FORMAT": "json",
        "SHOAL_OPERATOR_LEADER_ELECTION": "false",
        "SHOAL_OPERATOR_WORKERS": "3",
        "SHOAL_OPERATOR_KUBECONFIG": "/x",
    }
    settings = load(["--workers", "5", "--namespace", "c", "--namespace", "d"], environ)
    assert settings.namespaces == ("c", "d")
    assert (settings.log_format, settings.leader_election, settings.workers) == ("json", False, 5)
    assert settings.kubeconfig == Path("/x")


def test_who_reads_metrics_and_what_they_show():
    environ = {"SHOAL_OPERATOR_METRICS_TOKEN_FILE": "/t", "SHOAL_OPERATOR_PER_OBJECT_METRICS": "true"}
    settings = load([], environ)
    assert (settings.metrics_token_file, settings.per_object_metrics) == (Path("/t"), True)
    assert load(["--metrics-token-file", "/u"], environ).metrics_token_file == Path("/u")


def test_all_namespaces_overrides_the_environment():
    assert load(["--all-namespaces"], {"SHOAL_OPERATOR_NAMESPACES": "a"}).namespaces == ()


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"SHOAL_OPERATOR_WORKERS": "many"}, "SHOAL_OPERATOR_WORKERS cannot be 'many'"),
        ({"SHOAL_OPERATOR_LEADER_ELECTION": "perhaps"}, "SHOAL_OPERATOR_LEADER_ELECTION"),
        ({"SHOAL_OPERATOR_LOG_FORMAT": "xml"}, "log-format must be one of text, json"),
        ({"SHOAL_OPERATOR_METRICS_ADDRESS": "host:99999"}, "host:port"),
        ({"SHOAL_OPERATOR_LEASE_DURATION_SECONDS": "0"}, "lease-duration-seconds must be 1 to 3600"),
        ({"SHOAL_OPERATOR_LEASE_DURATION_SECONDS": "long"}, "SHOAL_OPERATOR_LEASE_DURATION_SECONDS"),
        ({"SHOAL_OPERATOR_PER_OBJECT_METRICS": "perhaps"}, "SHOAL_OPERATOR_PER_OBJECT_METRICS"),
    ],
)
def test_a_wrong_value_names_its_setting(environ, words):
    with pytest.raises(SettingsError, match=words):
        load([], environ)


def test_the_operators_own_pods_are_known_by_labels():
    expected = (("app.kubernetes.io/name", "shoal"), ("empty", ""))
    assert load(["--pod-labels", "app.kubernetes.io/name=shoal, empty="], {}).pod_labels == expected
    assert load([], {"SHOAL_OPERATOR_POD_LABELS": "app.kubernetes.io/name=shoal,empty="}).pod_labels == expected
    with pytest.raises(SettingsError, match="pod-labels must be like a=b,c=d, got 'shoal'"):
        load(["--pod-labels", "shoal"], {})


@pytest.mark.parametrize("arguments", [["--names", "x"], ["--namespace", "a", "--all-namespaces"], ["extra"]])
def test_an_unknown_or_contradictory_flag_ends_it(arguments, capsys):
    with pytest.raises(SystemExit):
        load(arguments, {})
    assert "usage" in capsys.readouterr().err
