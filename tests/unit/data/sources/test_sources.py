from typing import get_args

from oodtune.config import DataConfig
from oodtune.data.sources import SOURCES


def test_every_source_that_settings_may_name_exists() -> None:
    assert set(SOURCES) == set(get_args(DataConfig.model_fields["source"].annotation))
