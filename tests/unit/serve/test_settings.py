import pytest
from pydantic import ValidationError

from oodtune.config import ServeConfig
from oodtune.errors import ConfigError
from oodtune.serve.settings import VARIABLES, ServeSettings, read_settings


def test_without_environment_the_settings_are_those_of_params_yaml():
    config = ServeConfig(host="0.0.0.0", port=9000, max_wait_s=3.0)
    settings = read_settings(config, environ={})
    assert {name: getattr(settings, name) for name in ServeConfig.model_fields} == config.model_dump()
    assert settings.provider == "cpu"
    assert settings.workers >= 1


def test_environment_overrides_params_yaml_and_flags_override_both():
    environ = {"OODTUNE_LISTEN_PORT": "9001", "OODTUNE_WORKERS": "3", "OODTUNE_BUNDLE": "models/best"}
    settings = read_settings(ServeConfig(port=9000), {"port": 9002, "host": None}, environ)
    assert (settings.port, settings.workers, settings.bundle) == (9002, 3, "models/best")
    assert settings.host == ServeConfig().host


def test_every_field_has_a_variable():
    assert set(VARIABLES) == set(ServeSettings.model_fields)


def test_variables_that_kubernetes_sets_beside_a_service_of_our_name_are_not_ours():
    environ = {"OODTUNE_PORT": "tcp://10.0.0.1:8080", "OODTUNE_SERVICE_PORT": "8080", "OODTUNE_HOST": "x"}
    assert read_settings(ServeConfig(), environ=environ) == read_settings(ServeConfig(), environ={})


def test_a_wrong_value_names_its_variable():
    with pytest.raises(ConfigError, match=r"environment \(OODTUNE_LISTEN_PORT\): port: .* found '80800'"):
        read_settings(ServeConfig(), environ={"OODTUNE_LISTEN_PORT": "80800"})
    with pytest.raises(ConfigError, match=r"environment \(OODTUNE_PROVIDER\): provider: .* found 'tpu'"):
        read_settings(ServeConfig(), environ={"OODTUNE_PROVIDER": "tpu"})


def test_null_of_the_environment_turns_a_port_off():
    settings = read_settings(ServeConfig(grpc_port=8081), environ={"OODTUNE_LISTEN_GRPC_PORT": "null"})
    assert settings.grpc_port is None


def test_the_token_is_not_shown():
    settings = read_settings(ServeConfig(), environ={"OODTUNE_TOKEN": "hunter2"})
    assert settings.token is not None
    assert "hunter2" not in repr(settings)


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        read_settings(ServeConfig(), environ={}).port = 1
