"""Asks HTTP APIs of the parts that Rounds works with."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

#: Seconds for an answer.
_WITHIN = 8.0


class NoAnswer(Exception):  # noqa: N818  # not an error: what is missing is a finding
    """There is no answer, or none that can be used.

    Attributes:
        answered: whether something answers there.
        status: the HTTP status of the answer, where there was one.
    """

    def __init__(self, text: str, *, answered: bool, status: int | None = None) -> None:
        super().__init__(text)
        self.answered = answered
        self.status = status


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        text: its body.
        date: what the server's clock says, in Unix seconds, where it says so.
        before: this machine's time before it was asked.
        after: this machine's time when the answer was there.
        json: the body's document, None where it is none.
    """

    text: str
    date: float | None
    before: float
    after: float
    json: Any


class Site:
    """A server.

    Args:
        url: its address.
        asked: whether somebody named it, rather than that it is where it usually is.
        user: for basic authentication.
        password_file: holds the user's password.
        token_file: holds a bearer token.
        ca_file: the authority of its certificate.
    """

    def __init__(
        self,
        url: str,
        *,
        asked: bool = True,
        user: str | None = None,
        password_file: Path | None = None,
        token_file: Path | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.asked = asked
        self._auth = httpx.BasicAuth(user, _secret(password_file)) if user else None
        self._headers = {"Authorization": f"Bearer {_secret(token_file)}"} if token_file else {}
        # Without TLS no authorities are read, which takes longer than an answer.
        self._verify = (str(ca_file) if ca_file else True) if url.startswith("https") else False

    def get(self, path: str, parameters: Mapping[str, str] | None = None) -> Answer:
        """Ask.

        Raises:
            NoAnswer: there is none.
        """
        before = time.time()
        try:
            answer = httpx.get(
                self.url + path,
                params=parameters,
                auth=self._auth,
                headers=self._headers,
                verify=self._verify,
                timeout=_WITHIN,
                trust_env=False,
            )
        except httpx.TimeoutException:
            raise NoAnswer(f"does not answer within {_WITHIN:g} s", answered=False) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            told = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
            raise NoAnswer(f"does not answer: {told}", answered=False) from None
        after = time.time()
        if answer.status_code != HTTPStatus.OK:
            told = f"answers {answer.status_code} to {path}"
            raise NoAnswer(told, answered=True, status=answer.status_code)
        try:
            document = answer.json()
        except ValueError:
            document = None
        return Answer(answer.text, _date(answer.headers.get("Date")), before, after, document)

    def json(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """The JSON document of an answer.

        Raises:
            NoAnswer: there is none.
        """
        document = self.get(path, parameters).json
        if document is None:
            raise NoAnswer(f"answers {path} without JSON", answered=True)
        return document


def _secret(file: Path | None) -> str:
    return file.read_text(encoding="utf-8").rstrip("\r\n") if file else ""


def _date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except ValueError:
        return None
