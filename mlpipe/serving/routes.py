"""What the paths of the server mean, and the methods that they take."""

from __future__ import annotations

from dataclasses import dataclass

from mlpipe.serving.wire import Kind

#: Paths that are answered without a key: whoever looks after the server has to know how it is.
HEALTH = frozenset({"/v2/health/live", "/v2/health/ready", "/health", "/ping"})
#: What has rows in its body.
ROWS = frozenset({Kind.PREDICT, Kind.INVOCATIONS, Kind.INFER})
#: Whether a model of a name is ready, of which there is one.
READY = "/v2/models/{model}/ready"


@dataclass(frozen=True)
class Route:
    """What a path means.

    Attributes:
        pattern: Of the path, of which there are few; in metrics and logs.
        kind: What a worker is asked; None: nothing.
        version: The version that the path names, or empty.
        methods: That it takes; empty: another application decides that.
    """

    pattern: str
    kind: Kind | None = None
    version: str = ""
    methods: tuple[str, ...] = ("GET", "HEAD")


_POST = ("POST",)
_ROUTES = {
    "/openapi.json": Route("/openapi.json", Kind.OPENAPI),
    "/predict": Route("/predict", Kind.PREDICT, methods=_POST),
    "/invocations": Route("/invocations", Kind.INVOCATIONS, methods=_POST),
    "/admin/reload": Route("/admin/reload", methods=_POST),
    **{path: Route(path) for path in ("/metrics", "/version", "/v2", *sorted(HEALTH))},
}
_OTHER = Route("other", methods=())


def find(path: str, model: str) -> Route:
    """What a path means to a server of a model of this name.

    Examples:
        >>> find("/v2/models/flights/versions/3f/infer", "flights").version
        '3f'
    """
    if (known := _ROUTES.get(path)) is not None:
        return known
    head, _, tail = path.removeprefix("/v2/models/").partition("/")
    if not path.startswith("/v2/models/") or head != model:
        return _OTHER
    version = ""
    if tail.startswith("versions/"):
        version, _, tail = tail.removeprefix("versions/").partition("/")
    match tail:
        case "":
            return Route("/v2/models/{model}", Kind.MODEL, version)
        case "infer":
            return Route("/v2/models/{model}/infer", Kind.INFER, version, _POST)
        case "ready":
            return Route(READY, None, version)
    return _OTHER
