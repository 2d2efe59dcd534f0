"""`conf/base/artifacts.yml` has no mistakes, and a mistake is named with its line."""

from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "conf" / "base" / "artifacts.yml"


def test_the_rules_fit_each_other_and_the_catalog(sandbox, module):
    module("mlops.artifact_rules").check_rules(FILE, sandbox.catalog())


def test_a_mistake_is_named_with_its_line(sandbox, module, tmp_path):
    text = FILE.read_text(encoding="utf-8")
    broken = tmp_path / "artifacts.yml"
    broken.write_text(text.replace("grace_days:", "grace:"), encoding="utf-8")
    line = next(n for n, t in enumerate(text.splitlines(), 1) if "grace_days" in t)
    refusal = module("mlops.errors").BlueprintError
    with pytest.raises(refusal, match=rf"artifacts\.yml:{line}: retention\.grace"):
        module("mlops.artifact_rules").check_rules(broken, sandbox.catalog())
