"""pytest's fixture `gradient_check`: the gradient verifier in a test, its report in the failure.

    def test_my_gradient(gradient_check):
        gradient_check(f, (x, kernel), linear_in=1)

pytest loads this module if jaxconv is installed. JAX is imported when a test uses the fixture.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

_REPORTS = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture
def gradient_check(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`gradient_check(f, args, **options)` fails the test if a derivative of `f` is wrong.

    It takes the arguments of `jaxconv.verify.check_gradients` and returns the `GradientReport`.
    """
    reports = request.node.stash.setdefault(_REPORTS, [])

    def check(f: Callable[..., Any], args: Sequence[Any], **options: Any) -> Any:
        from . import verify

        report = verify.check_gradients(f, args, **options)
        if not report.ok:
            reports.append((report.function, str(report)))
            slips = "; ".join(dict.fromkeys(failure.diagnosis for failure in report.failures))
            pytest.fail(f"the gradient of {report.function} is wrong: {slips}", pytrace=False)
        return report

    return check


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add the reports of wrong gradients to the failure of their test."""
    result = yield
    if result.failed:
        for function, text in item.stash.get(_REPORTS, []):
            result.sections.append((f"gradient of {function}", text))
    return result
