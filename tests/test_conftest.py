"""What the suite promises for every test: in CI no skip without leave, and nowhere a proxy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
import pytest

@pytest.mark.skip(reason={reason!r})
def test_marked():
    pass

def test_called():
    pytest.skip({reason!r})

@pytest.mark.xfail(strict=True)
def test_expected():
    assert False
"""

PROXY = """
import os

def test_environment():
    assert not {"HTTPS_PROXY", "http_proxy"} & set(os.environ)
"""


def outcome(folder: Path, source: str, *, ci: str) -> tuple[int, str]:
    """Run pytest over one module beside a copy of this suite's conftest."""
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_module.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
    proxies = dict.fromkeys(("HTTPS_PROXY", "http_proxy"), "http://127.0.0.1:9")
    environment = {**os.environ, **proxies, "CI": ci, "PYTEST_ADDOPTS": ""}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout


def test_ci_refuses_a_skip_without_leave(tmp_path: Path) -> None:
    """In CI both ways of skipping fail, and say their reason; an expected failure stays one."""
    code, text = outcome(tmp_path, MODULE.format(reason="no browser"), ci="true")
    assert code == 1
    assert "1 failed, 1 xfailed, 1 error" in text  # a mark acts in the set-up, where pytest says error
    assert text.count("unless its reason starts with 'allowed:': no browser") >= 2


@pytest.mark.parametrize(("reason", "ci"), [("allowed: no browser", "true"), ("no browser", "")])
def test_a_skip_with_leave_or_outside_ci_is_a_skip(tmp_path: Path, reason: str, ci: str) -> None:
    """A reason that starts with `allowed:` skips in CI too; elsewhere any reason does."""
    code, text = outcome(tmp_path, MODULE.format(reason=reason), ci=ci)
    assert code == 0
    assert "2 skipped, 1 xfailed" in text


def test_ci_refuses_a_module_that_skips_itself(tmp_path: Path) -> None:
    """A module that is skipped as a whole fails in CI, so that a missing package cannot hide its tests."""
    code, text = outcome(tmp_path, "import pytest\npytest.importorskip('no_such_package')\n", ci="true")
    assert code != 0
    assert "could not import 'no_such_package'" in text


def test_no_test_sees_a_proxy(tmp_path: Path) -> None:
    """A proxy that the environment names, in either spelling, is gone before the first test."""
    code, text = outcome(tmp_path, PROXY, ci="")
    assert code == 0, text
