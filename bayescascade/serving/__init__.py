"""A cascade as a service: `app` is imported on first use, since it needs what the extra ``serve`` brings."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayescascade.serving.application import app as app

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'bayescascade.serving' has no attribute {name!r}")
    try:
        from bayescascade.serving.application import app
    except ModuleNotFoundError as missing:
        from bayescascade._common.extras import not_installed

        raise not_installed(missing, "bayescascade.serving.app", "serve") from missing
    globals()[name] = app
    return app
