"""What is said where the library is absent that an adapter is for? Must not know any library."""


def without(error: ModuleNotFoundError, what: str, package: str) -> ModuleNotFoundError:
    """The error to raise from `error`: `what` takes the absent module, and `package` is what brings it."""
    return ModuleNotFoundError(f"{what} takes {error.name}, which is not here: pip install {package}", name=error.name)
