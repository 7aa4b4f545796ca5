"""AWS KMS on this machine: moto's server over HTTP, and one that answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

import boto3
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"
#: What a process needs in its environment to be let in.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIATESTING", "AWS_SECRET_ACCESS_KEY": "aws-canary-9917"}
#: Keeps boto3 from looking beyond this machine and this test.
NOWHERE = {
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Kms:
    """moto's server.  Its keys outlive a stop, as those of AWS outlive an outage."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._clients: dict[tuple[str, str], Any] = {}

    def stop(self) -> None:
        self._server.stop()
        assert self._server._server is not None
        self._server._server.server_close()

    def client(self, service: str = "kms", region: str = REGION) -> Any:
        """boto3's own client, to prepare what a test is about."""
        client = self._clients.get((service, region))
        if client is None:
            client = self._clients[service, region] = boto3.session.Session().client(
                service,
                region_name=region,
                endpoint_url=self.url,
                aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            )
        return client

    def make_key(self, **wishes: Any) -> str:
        """A new key's ARN."""
        # AWS has this default as well; moto leaves it out.
        wishes = {"KeyUsage": "ENCRYPT_DECRYPT", **wishes}
        arn: str = self.client().create_key(**wishes)["KeyMetadata"]["Arn"]
        return arn

    def uri(self, key: str, **parameters: str) -> str:
        given = "&".join(
            f"{name}={value}" for name, value in {"endpoint_url": self.url, **parameters}.items()
        )
        return f"aws-kms:{key}?{given}"

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nothing listens at the address."""
        self.stop()
        try:
            yield
        finally:
            self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
            self._server.start()

    @contextmanager
    def checking_permissions(self) -> Iterator[None]:
        """Policies count, and unknown access keys are refused."""
        self._count_from("0")
        try:
            yield
        finally:
            self._count_from("inf")

    def _count_from(self, calls: str) -> None:
        plain = {"Content-Type": "text/plain"}
        request = Request(f"{self.url}/moto-api/reset-auth", calls.encode(), plain, method="POST")
        with urlopen(request, timeout=10) as answer:
            answer.read()


class ToldKms:
    """Describes one key, and answers everything else with what ``answers`` holds for the action."""

    ARN = f"arn:aws:kms:{REGION}:111122223333:key/11111111-2222-3333-4444-555555555555"

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {
            "Arn": self.ARN,
            "KeyId": self.ARN.rpartition("/")[2],
            "KeySpec": "SYMMETRIC_DEFAULT",
            "KeyUsage": "ENCRYPT_DECRYPT",
            "KeyState": "Enabled",
        }
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                action = self.headers["X-Amz-Target"].rpartition(".")[2]
                told.asked.append((action, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                known = {"DescribeKey": (200, {"KeyMetadata": told.metadata}), **told.answers}
                status, document = known[action]
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.rest = f"{self.ARN}?endpoint_url=http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
