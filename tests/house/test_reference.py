"""Generated pages are what the code says today."""

from pathlib import Path

import pytest

from controller import settings as controller_settings
from controller.cli import reference
from proxy import settings as proxy_settings

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("page", sorted(reference.pages()))
def test_a_generated_page_is_up_to_date(page):
    written = (FOLDER / page).read_text(encoding="utf-8")
    assert written == reference.pages()[page], "run `make docs`"


@pytest.mark.parametrize("model", [controller_settings.Settings, proxy_settings.Settings], ids=["controller", "proxy"])
def test_every_setting_is_described(model):
    assert [name for name, field in model.model_fields.items() if not field.description] == []
