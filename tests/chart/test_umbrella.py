"""As a part of another chart, which switches it on and off."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from builders_chart import CHART, LOADER, NAMESPACE, needs_helm, run_helm

pytestmark = needs_helm

PLATFORM = {
    "apiVersion": "v2",
    "name": "platform",
    "version": "0.1.0",
    "dependencies": [{"name": "checkpointheal", "version": "0.1.0", "condition": "checkpointheal.enabled"}],
}


@pytest.fixture
def platform(tmp_path: Path) -> Path:
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(PLATFORM))
    shutil.copytree(CHART, tmp_path / "charts" / "checkpointheal")
    return tmp_path


@pytest.mark.parametrize("enabled", [True, False])
def test_another_charts_condition_switches_it_on_and_off(platform: Path, enabled: bool):
    (platform / "values.yaml").write_text(json.dumps({"checkpointheal": {"enabled": enabled}}))
    done = run_helm("template", "p", str(platform), "--namespace", NAMESPACE)
    assert done.returncode == 0, done.stderr
    names = [each["metadata"]["name"] for each in yaml.load_all(done.stdout, LOADER) if each is not None]
    assert ("p-checkpointheal" in names) == enabled


def test_a_condition_that_is_no_word_of_yes_or_no_is_refused(platform: Path):
    (platform / "values.yaml").write_text(json.dumps({"checkpointheal": {"enabled": "on"}}))
    done = run_helm("template", "p", str(platform), "--namespace", NAMESPACE)
    assert done.returncode != 0
    assert "enabled" in done.stderr
