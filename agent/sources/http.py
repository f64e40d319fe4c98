"""Numbers from a web page: a JSON document, or a Prometheus metrics page."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar
from urllib.parse import urlsplit

from msgspec import Meta

from agent.core.channel import Channel
from agent.core.errors import UserError
from agent.sources.base import SourceConfig
from agent.sources.payload import NoReading, at_path, decoded, number
from agent.sources.prometheus_text import labels_of, sample_lines
from agent.sources.sysfs import GaugeFault, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["HttpConfig", "HttpSource", "PageError"]

# Bytes of a page; bounds memory, chosen by hand.
_MOST_BYTES = 4 << 20
# A Prometheus series as in a query: a name, optionally with labels.
_SERIES = re.compile(r"([a-zA-Z_:][\w:]*)(\{.*\})?")


class PageError(Exception):
    """The page cannot be fetched or has no configured value; the text is the reason."""


class HttpConfig(SourceConfig, frozen=True):
    """Keys of the `http` source."""

    url: Annotated[str, Meta(pattern="^https?://[^/]", description="URL of the page, http or https.")]
    name: Annotated[str, Meta(min_length=1, description="First part of the channels' names.")]
    values: Annotated[
        dict[str, str],
        Meta(
            min_length=1,
            max_length=1000,
            description=(
                "Channel names, each with a path in the JSON document, such as `sensors.0.t`, or with a Prometheus "
                "series, such as `node_load1`."
            ),
        ),
    ]
    page: Annotated[
        str,
        Meta(
            extra_json_schema={"enum": ["json", "prometheus"]},
            description="Format of the page: `json` or `prometheus`.",
        ),
    ] = "json"
    token_file: Annotated[str, Meta(description="File with a token, which is sent as `Authorization: Bearer`.")] = ""
    timeout_s: Annotated[
        float, Meta(gt=0, le=600, description="Time-out in seconds for connecting, and for each part of the answer.")
    ] = 5.0

    def __post_init__(self) -> None:
        if self.page not in {"json", "prometheus"}:
            raise ValueError(f"page must be json or prometheus: {self.page!r}")
        if urlsplit(self.url).username is not None:
            raise ValueError("the URL must not contain a password; store a token in a file and name it in token_file")
        for name, series in self.values.items():
            if self.page == "prometheus" and not _SERIES.fullmatch(series):
                raise ValueError(
                    f'{name}: {series!r} is not a series such as node_load1 or requests_total{{code="500"}}'
                )


class HttpSource:
    """Fetches the page at each tick; follows no redirects and uses no proxy.

    Raises
    ------
    UserError
        The token file cannot be read.
    """

    Config: ClassVar[type[SourceConfig]] = HttpConfig
    inline: ClassVar[bool] = False

    def __init__(self, config: HttpConfig, interval_s: float) -> None:  # noqa: ARG002 - readings do not depend on it
        self._url = config.url
        self._timeout_s = config.timeout_s
        self._wanted = tuple(config.values.values())
        self._values: Callable[[bytes], list[float]] = (
            self._of_samples if config.page == "prometheus" else self._of_document
        )
        self._headers = {"User-Agent": "edgewatch"}
        if config.token_file:
            try:
                self._headers["Authorization"] = f"Bearer {read_text(Path(config.token_file))}"
            except (OSError, GaugeFault) as error:
                raise UserError(
                    f"cannot read the token: {error}",
                    location="$.token_file",
                    remedy="name an existing file that the agent's user may read",
                ) from error
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirection)
        self.channels: tuple[Channel, ...] = tuple(Channel(f"{config.name}.{name}") for name in config.values)

    def read(self) -> Sequence[float]:
        """Fetch the page; return one number for each channel, NaN for a value that the page lacks.

        Raises
        ------
        PageError
            The page cannot be fetched, or has no configured value.
        """
        try:
            values = self._values(self._fetch())
        except NoReading as fault:
            raise PageError(f"{self._url}: {fault}") from None
        if all(value != value for value in values):  # noqa: PLR0124 - NaN
            raise PageError(f"{self._url}: the page has none of the configured values")
        return values

    def close(self) -> None:
        """No-op: nothing stays open between reads."""

    def _fetch(self) -> bytes:
        request = urllib.request.Request(self._url, headers=self._headers)  # noqa: S310 - http or https, see the pattern
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                content: bytes = answer.read(_MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            error.close()
            raise PageError(f"{self._url}: status {error.code}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise PageError(f"{self._url}: {reason}") from None
        if len(content) > _MOST_BYTES:
            raise PageError(f"{self._url}: larger than {_MOST_BYTES >> 20} MiB")
        return content

    def _of_document(self, content: bytes) -> list[float]:
        document = decoded(content)
        values = []
        for path in self._wanted:
            try:
                values.append(number(at_path(document, path)))
            except NoReading:
                values.append(float("nan"))
        return values

    def _of_samples(self, content: bytes) -> list[float]:
        by_name: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for name, labels, value in sample_lines(content.decode("utf-8", "replace")):
            by_name.setdefault(name, []).append((labels, value))
        values = []
        for series in self._wanted:
            match = _SERIES.fullmatch(series)
            assert match is not None  # noqa: S101 - the configuration was checked
            wanted = labels_of(match[2] or "").items()
            found = [value for present, value in by_name.get(match[1], []) if wanted <= present.items()]
            values.append(sum(found) if found else float("nan"))
        return values


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, so that the token reaches no other server."""

    def redirect_request(self, *_: object) -> None:
        """Return None, so that a redirect raises `HTTPError`."""
