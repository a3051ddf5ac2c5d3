"""Which version of a package is installed."""

from importlib.metadata import version

from checkpointheal.contract.installed import version_of


def test_it_is_the_one_that_the_package_says() -> None:
    assert version_of("pydantic") == version("pydantic")


def test_of_what_is_not_installed_there_is_none() -> None:
    assert version_of("no-such-package-of-anybodys") == ""
