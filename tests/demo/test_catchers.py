"""Catchers collect what a real client sends."""

from __future__ import annotations

import smtplib
import threading
from email.message import EmailMessage

import httpx
import pytest

from rounds.demo.catchers import Mail, MailCatcher, SlackCatcher, SlackMessage, WebhookCatcher

SLACK = {
    "channel": "#alerts",
    "attachments": [
        {
            "title": "CRITICAL: api-gateway is down",
            "title_link": "http://alertmanager/",
            "text": "api-gateway fails.\n<http://runbook/|Runbook>",
            "color": "danger",
            "actions": [{"type": "button", "text": "Dashboard", "url": "http://grafana/d/services"}],
        }
    ],
}


def test_slack_messages_are_collected_and_handed_on() -> None:
    shown: list[SlackMessage] = []
    with SlackCatcher(on_message=shown.append) as slack:
        assert httpx.post(slack.url, json=SLACK, trust_env=False).text == "ok"
        message = slack.wait_for(lambda each: "api-gateway" in each.title, seconds=5)
    assert shown == slack.messages == [message]
    assert (message.channel, message.colour, message.resolved) == ("#alerts", "danger", False)
    assert message.text.startswith("api-gateway fails.")
    assert message.links == ("http://alertmanager/", "http://grafana/d/services", "http://runbook/")


def test_green_is_a_recovery() -> None:
    message = SlackMessage.parse("/", {"attachments": [{"title": "up again", "color": "good"}]})
    assert message.resolved
    assert message.links == ()


@pytest.mark.parametrize("content", [b"not JSON", b"[]", b"{}"])
def test_what_slack_would_not_take_is_refused(content: bytes) -> None:
    with SlackCatcher() as slack:
        assert httpx.post(slack.url, content=content, trust_env=False).status_code == 400
    assert slack.messages == []


def test_webhooks_are_collected_with_their_path() -> None:
    with WebhookCatcher() as catcher:
        httpx.post(f"{catcher.url}watchdog", json={"status": "firing"}, trust_env=False).raise_for_status()
        webhook = catcher.wait_for(lambda each: each.path == "/watchdog", seconds=5)
    assert webhook.payload == {"status": "firing"}


def test_waiting_notices_a_message_that_comes_later() -> None:
    with WebhookCatcher() as catcher:
        post = threading.Thread(target=httpx.post, args=(catcher.url,), kwargs={"json": {}, "trust_env": False})
        post.start()
        catcher.wait_for(lambda _: True, seconds=5)
        post.join()


def test_waiting_in_vain_tells_what_came_instead() -> None:
    with WebhookCatcher() as catcher:
        httpx.post(f"{catcher.url}other", json={}, trust_env=False)
        with pytest.raises(TimeoutError, match="/other"):
            catcher.wait_for(lambda each: each.path == "/wanted", seconds=0.01)


def test_mail_is_parsed_into_its_parts() -> None:
    sent = EmailMessage()
    sent["From"], sent["To"], sent["Subject"] = "rounds@example.invalid", "ops@example.invalid", "Größer als 5 s"
    sent.set_content("Text ä\n")
    sent.add_alternative("<p>HTML</p>\n", subtype="html")
    shown: list[Mail] = []
    with MailCatcher(on_message=shown.append) as catcher:
        with smtplib.SMTP(catcher.address) as client:
            client.send_message(sent)
        mail = catcher.wait_for(lambda each: True, seconds=5)
    assert shown == [mail]
    assert (mail.sender, mail.recipients) == ("rounds@example.invalid", ("ops@example.invalid",))
    assert (mail.subject, mail.text, mail.html) == ("Größer als 5 s", "Text ä\n", "<p>HTML</p>\n")


def test_mail_without_a_text_part_has_no_text() -> None:
    sent = EmailMessage()
    sent["From"], sent["To"] = "rounds@example.invalid", "ops@example.invalid"
    sent.set_content("<p>HTML</p>\n", subtype="html")
    with MailCatcher() as catcher, smtplib.SMTP(catcher.address) as client:
        client.send_message(sent)
    (mail,) = catcher.messages
    assert (mail.subject, mail.text, mail.html) == ("", "", "<p>HTML</p>\n")
