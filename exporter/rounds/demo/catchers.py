"""Catchers: servers, by default on loopback, that stand in for Slack, for a webhook receiver and for a mail server.

Each collects what arrives, in :attr:`Catcher.messages`, and serves from a thread of its own, so that it works under
asyncio and without::

    with SlackCatcher() as slack:
        ...  # Alertmanager posts to slack.url
        slack.wait_for(lambda message: "api-gateway" in message.title, seconds=30)
"""

from __future__ import annotations

import collections
import email
import email.policy
import json
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Generic, Self, TypeVar

from rounds.demo.ports import LOOPBACK, pick_port

T = TypeVar("T")

#: The header of e-mails that has the domain.
COMPONENT_HEADER = "X-Rounds-Component"

#: How many messages an HTTP catcher shows.
_SHOWN = 100

#: A link of Slack's own markup: <address|label>.
_LINK = re.compile(r"<(https?://[^|>]+)(?:\|[^>]*)?>")


@dataclass(frozen=True)
class SlackMessage:
    """A message as Slack would show it: the first attachment of what was posted.

    The attributes are what they are called there. ``component`` is the footer, in which the demo's configuration of
    Alertmanager puts the domain.
    """

    channel: str
    title: str
    text: str
    colour: str
    links: tuple[str, ...]
    payload: dict[str, Any] = field(repr=False)
    component: str = ""

    @property
    def resolved(self) -> bool:
        """Whether it tells a recovery: those are green."""
        return self.colour == "good"

    @classmethod
    def parse(cls, path: str, payload: dict[str, Any]) -> Self:
        """Read a post to an incoming webhook.

        Raises:
            ValueError: it is not one.
        """
        attachments = payload.get("attachments")
        if not attachments:
            raise ValueError(f"no Slack message at {path}: it has no attachments")
        shown = attachments[0]
        text = str(shown.get("text", ""))
        links = [shown.get("title_link"), *(action.get("url") for action in shown.get("actions") or ())]
        return cls(
            channel=str(payload.get("channel", "")),
            title=str(shown.get("title", "")),
            text=text,
            colour=str(shown.get("color", "")),
            links=tuple(dict.fromkeys(link for link in (*links, *_LINK.findall(text)) if link)),
            payload=payload,
            component=str(shown.get("footer", "")),
        )


@dataclass(frozen=True)
class Webhook:
    """A JSON document that was posted, such as Alertmanager's own notification format."""

    path: str
    payload: dict[str, Any]

    @classmethod
    def parse(cls, path: str, payload: dict[str, Any]) -> Self:
        """Take it as it is."""
        return cls(path, payload)


@dataclass(frozen=True)
class Mail:
    """An e-mail: the envelope's addresses, and the parsed message."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage = field(repr=False)

    @property
    def subject(self) -> str:
        """The subject, decoded."""
        return str(self.message.get("Subject", ""))

    @property
    def component(self) -> str:
        """The domain, in the header that the demo's configuration of Alertmanager adds; empty without it."""
        return str(self.message.get(COMPONENT_HEADER, ""))

    @property
    def text(self) -> str:
        """The text part; empty where there is none."""
        return self._part("plain")

    @property
    def html(self) -> str:
        """The HTML part; empty where there is none."""
        return self._part("html")

    def _part(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        return str(part.get_content()).replace("\r\n", "\n") if part is not None else ""


class Catcher(Generic[T]):
    """What catchers have in common: the messages, and waiting for one.

    Args:
        on_message: called with each message as it arrives, in the catcher's thread.
    """

    def __init__(self, on_message: Callable[[T], None] | None = None) -> None:
        self.messages: list[T] = []
        self._on_message = on_message
        self._arrived = threading.Condition()

    def wait_for(self, wanted: Callable[[T], bool], seconds: float) -> T:
        """The first message that is wanted, of those that came and those to come.

        Raises:
            TimeoutError: none came in time.
        """
        found: list[T] = []

        def look() -> bool:
            found.extend(message for message in self.messages if wanted(message))
            return bool(found)

        with self._arrived:
            if not self._arrived.wait_for(look, seconds):
                raise TimeoutError(f"no such message within {seconds} s, but these: {self.messages}")
        return found[0]

    def _catch(self, message: T) -> None:
        with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()
        if self._on_message is not None:
            self._on_message(message)


class _HttpCatcher(Catcher[T]):
    """Collects JSON documents that are posted, and answers GET with the last of them, oldest first."""

    def __init__(
        self,
        parse: Callable[[str, dict[str, Any]], T],
        port: int = 0,
        on_message: Callable[[T], None] | None = None,
        host: str = LOOPBACK,
    ) -> None:
        super().__init__(on_message)
        catcher = self
        shown: collections.deque[dict[str, Any]] = collections.deque(maxlen=_SHOWN)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                try:
                    document = _mapping(body)
                    message = parse(self.path, document)
                except ValueError as error:
                    self._answer(400, str(error))
                else:
                    shown.append(document)
                    catcher._catch(message)
                    self._answer(200, "ok")

            def do_GET(self) -> None:
                self._answer(200, json.dumps(list(shown), indent=2), "application/json")

            def _answer(self, status: int, text: str, kind: str = "text/plain") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Messages are shown, not requests."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="catcher")
        self.port = int(self._server.server_address[1])
        self.url = f"http://{host}:{self.port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _mapping(body: bytes) -> dict[str, Any]:
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("should be a JSON object")  # noqa: TRY004 - what is wrong is the sender's value
    return document


class SlackCatcher(_HttpCatcher[SlackMessage]):
    """Stands in for Slack's incoming webhooks, at ``url``."""

    def __init__(
        self, port: int = 0, on_message: Callable[[SlackMessage], None] | None = None, host: str = LOOPBACK
    ) -> None:
        super().__init__(SlackMessage.parse, port, on_message, host)


class WebhookCatcher(_HttpCatcher[Webhook]):
    """Stands in for a webhook receiver, at ``url`` and every path below it."""

    def __init__(self, port: int = 0, on_message: Callable[[Webhook], None] | None = None) -> None:
        super().__init__(Webhook.parse, port, on_message)


class MailCatcher(Catcher[Mail]):
    """Stands in for a mail server, at ``address`` (``host:port``). No encryption, no log-in.

    Raises:
        ModuleNotFoundError: aiosmtpd, of the extra ``demo``, is not installed.
    """

    def __init__(self, port: int = 0, on_message: Callable[[Mail], None] | None = None) -> None:
        super().__init__(on_message)
        from aiosmtpd.controller import Controller  # noqa: PLC0415 - an optional extra

        logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd tells every command that it is given
        self.port = pick_port(port)
        self.address = f"{LOOPBACK}:{self.port}"
        self._controller = Controller(self, hostname=LOOPBACK, port=self.port)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: ARG002, N802
        """Called by aiosmtpd for each mail."""
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self._catch(Mail(envelope.mail_from, tuple(envelope.rcpt_tos), message))
        return "250 OK"
