"""Sends what opens and closes to a phone: a subscriber to copy and change.

    python push.py --ntfy https://ntfy.sh/my-secret-topic
    python push.py --apprise 'tgram://bot/chat' --min-severity warning      # pip install apprise

It needs paho-mqtt. The broker keeps alerts while it is away, since its session is persistent; one that comes twice is
sent once.
"""

import argparse
import json
import logging
import urllib.request
from collections import deque

import paho.mqtt.client as mqtt

SEVERITIES = ("info", "warning", "critical")
NTFY_PRIORITIES = {"info": "3", "warning": "4", "critical": "5"}
LOG = logging.getLogger("push")


def to_ntfy(url, alert):
    """Send one message by ntfy; raises OSError when it cannot be delivered."""
    request = urllib.request.Request(  # noqa: S310 - the person who started this names the address
        url,
        data=alert["summary"].encode(),
        headers={
            "Title": f"{alert['node']}: {alert['phase']}".encode("ascii", "replace").decode(),
            "Priority": NTFY_PRIORITIES.get(alert["severity"], "3") if alert["phase"] == "open" else "2",
            "Tags": "rotating_light" if alert["phase"] == "open" else "white_check_mark",
        },
    )
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - as above
        pass


def to_apprise(urls, alert):
    """Send one message wherever Apprise can."""
    import apprise  # noqa: PLC0415 - for those who ask for it

    sender = apprise.Apprise()
    for url in urls:
        sender.add(url)
    if not sender.notify(title=f"{alert['node']}: {alert['phase']}", body=alert["summary"]):
        raise OSError("Apprise could not deliver it")


def main(arguments=None):
    """Listen until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--prefix", default="edgewatch")
    parser.add_argument("--min-severity", choices=SEVERITIES, default="info")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--ntfy", metavar="URL", help="a topic, such as https://ntfy.sh/my-secret-topic")
    target.add_argument("--apprise", action="append", metavar="URL", help="as Apprise writes addresses")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    sent = deque(maxlen=1000)

    def on_connect(client, userdata, flags, reason, properties):
        client.subscribe(f"{options.prefix}/+/alert", qos=1)

    def on_message(client, userdata, message):
        try:
            alert = json.loads(message.payload)
            loud = SEVERITIES.index(alert["severity"]) >= SEVERITIES.index(options.min_severity)
            new = alert["id"] not in sent
        except (ValueError, KeyError, TypeError) as error:
            LOG.warning("%s: no alert: %s", message.topic, error)
            return
        if alert["phase"] == "update" or not loud or not new:
            return
        try:
            if options.ntfy:
                to_ntfy(options.ntfy, alert)
            else:
                to_apprise(options.apprise, alert)
            sent.append(alert["id"])
        except OSError as error:
            LOG.warning("not delivered: %s: %s", alert["summary"], error)

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="edgewatch-push", clean_session=False)
    client.on_connect = on_connect
    client.on_message = on_message
    client.connect(options.host, options.port)
    client.loop_forever()


if __name__ == "__main__":
    main()
