"""By which settings does the webhook of this installation give agents to pods, or refuse them?

Read anew whenever somebody asks: the file is replaced when the installation changes. Must not know why it is asked.
"""

import logging
from pathlib import Path

from pydantic import ValidationError

from checkpointheal_operator.core.injection_settings import InjectionSettings

log = logging.getLogger("checkpointheal.operator")


def installed(settings: Path | None) -> InjectionSettings | None:
    """None where no file is named, or it cannot be read: nobody is sure then of what depends on them."""
    try:
        return None if settings is None else InjectionSettings.model_validate_json(settings.read_bytes())
    except (OSError, ValidationError) as error:
        log.warning("the webhook's settings cannot be read: %s", str(error).partition("\n")[0])
        return None
