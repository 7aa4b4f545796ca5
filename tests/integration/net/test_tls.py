"""Certificates are verified: a provider is who its certificate says, or nobody."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from authpipe.domain.errors import ProviderUnavailable
from authpipe.domain.secret import Secret
from authpipe.net.client import HttpClient
from authpipe.net.message import Request


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server context with a certificate for localhost that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def test_an_unknown_certificate_ends_the_call_before_anything_is_sent(
    client: HttpClient, tmp_path: Path
) -> None:
    """The handshake fails, so the outcome is certain."""
    arrived = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal arrived
        arrived += 1
        return web.Response()

    app = web.Application()
    app.router.add_post("/token", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self_signed(tmp_path)).start()
    port = runner.addresses[0][1]
    with pytest.raises(ProviderUnavailable) as failed:
        await client.send(
            Request(method="POST", url=f"https://localhost:{port}/token", form={"code": Secret("canary")})
        )
    await runner.cleanup()
    assert failed.value.sent is False
    assert "certificate" in (failed.value.detail or "").lower()
    assert arrived == 0
