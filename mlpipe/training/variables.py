"""Environment variables that set keys of the config, and those that only look as if they did.

jsonargparse reads a variable for each key and never looks at the others, so a misspelt one would change nothing, and
nobody would know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mlpipe.errors import ConfigError, closest

PREFIX = "MLPIPE"

#: Ours, but no keys of a config: the server's, those of model versions, and the switch of the tests that write their
#: golden files anew.
NOT_KEYS = frozenset({"MLPIPE_API_KEYS", "MLPIPE_ADMIN_KEY", "MLPIPE_REGISTRY", "MLPIPE_REGENERATE"})
#: What Kubernetes sets in every pod beside a service called `mlpipe` or `mlpipe-...`.
_OF_A_SERVICE = re.compile(
    rf"{PREFIX}_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


def variable_of(key: str) -> str:
    """The environment variable that sets a key.

    Examples:
        >>> variable_of("data.split.seed")
        'MLPIPE_DATA__SPLIT__SEED'
    """
    return f"{PREFIX}_{key.replace('.', '__')}".upper()


def refuse_unknown_variables(environment: Mapping[str, str], keys: Iterable[str]) -> None:
    """Refuse a variable that has our prefix and sets no key.

    Args:
        environment: The process's, as `os.environ`.
        keys: All dotted keys of a config.

    Raises:
        ConfigError: The sentence names the variable that was probably meant.

    Examples:
        >>> refuse_unknown_variables({"MLPIPE_MODEL__WIDTH": "32", "HOME": "/"}, ["model.width"])
    """
    key_of = {variable_of(key): key for key in keys}
    for name in environment:
        if not name.startswith(f"{PREFIX}_") or name in key_of or name in NOT_KEYS or _OF_A_SERVICE.fullmatch(name):
            continue
        written = name.removeprefix(f"{PREFIX}_").lower().replace("__", ".")
        meant = closest(written, key_of.values())
        hint = (
            f"Did you mean {variable_of(meant)!r}?"
            if meant
            else f"`{PREFIX}_` in front of a key's name sets that key, as {variable_of('model.width')} does; unset it."
        )
        raise ConfigError(f"The environment variable {name!r} sets no key. {hint}")
