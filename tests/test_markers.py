"""The gate finds the tests of extras by their marker."""

from commands import ROOT

SKIPS = "importor" + "skip("
# What the gate installs no packages for.
BY_HAND = {"models/test_ssl_encoder_torch.py"}


def test_tests_of_extras_have_the_marker():
    tests = ROOT / "tests"
    found = {str(path.relative_to(tests)) for path in tests.rglob("*.py") if SKIPS in path.read_text(encoding="utf-8")}
    assert found == BY_HAND
