"""TLS over real connections: who gets one, and which certificate it is shown."""

import asyncio
import shutil
import ssl
from pathlib import Path

import numpy as np
import pytest

from eyespot.client import AsyncClient, ClientError, UnavailableError
from eyespot.server.callers import current_caller
from eyespot.server.config import ServerConfig
from eyespot.server.errors import StartError
from eyespot.server.transport_security import CertificateFiles, server_credentials

CERTIFICATES = Path(__file__).parent / "certificates"
CA = CERTIFICATES / "ca.pem"
ROW = np.float32([[1, 2, 3, 4]])


@pytest.fixture
def settings(tmp_path):
    """The settings of TLS, with files that a test may change."""
    for suffix in ("pem", "key"):
        shutil.copy(CERTIFICATES / f"server.{suffix}", tmp_path / f"tls.{suffix}")
    return {"tls_certificate": tmp_path / "tls.pem", "tls_key": tmp_path / "tls.key"}


async def _shown(server):
    """The name of the file whose certificate a new connection is shown."""
    host, _, port = server.address.rpartition(":")
    pem = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)), ca_certs=str(CA))
    der = ssl.PEM_cert_to_DER_cert(pem)
    files = {name: (CERTIFICATES / f"{name}.pem").read_text() for name in ("server", "renewed")}
    (found,) = (name for name, text in files.items() if ssl.PEM_cert_to_DER_cert(text) == der)
    return found


async def test_who_knows_the_authority_is_answered_and_who_does_not_talk_tls_is_not(
    repository, serving, settings
):
    repository.add("affine")
    async with serving(**settings) as (server, _):
        async with AsyncClient(server.address, ca=CA, retries=0) as client:
            answer = await client.infer("affine", ROW)
            assert answer.outputs["y"].tolist() == [[3.0, 5.0, 7.0, 9.0]]
        for refused in (
            AsyncClient(server.address, retries=0, timeout=5),  # plain
            AsyncClient(server.address, ca=CERTIFICATES / "stranger.pem", retries=0, timeout=5),
            AsyncClient(server.address, tls=True, retries=0, timeout=5),
        ):
            async with refused as client:
                with pytest.raises(UnavailableError):
                    await client.server_live()


async def test_mutual_tls_takes_callers_of_the_authority_alone(repository, serving, settings):
    repository.add("affine")
    async with serving(**settings, tls_client_ca=CA) as (server, _):
        own = {"certificate": CERTIFICATES / "camera.pem", "key": CERTIFICATES / "camera.key"}
        async with AsyncClient(server.address, ca=CA, retries=0, **own) as client:
            assert await client.server_live()
        foreign = {
            "certificate": CERTIFICATES / "stranger.pem",
            "key": CERTIFICATES / "stranger.key",
        }
        for kept_out in ({}, foreign):
            async with AsyncClient(server.address, ca=CA, retries=0, **kept_out) as client:
                with pytest.raises(UnavailableError):
                    await client.server_live()


async def test_changed_certificates_are_shown_to_the_next_connection(
    repository, serving, settings, caplog
):
    repository.add("affine")
    async with serving(**settings) as (server, _):
        assert await _shown(server) == "server"
        shutil.copy(CERTIFICATES / "renewed.pem", settings["tls_certificate"])
        assert await _shown(server) == "server"  # the key is still that of the former
        assert "the key is not that of the certificate" in caplog.text
        shutil.copy(CERTIFICATES / "renewed.key", settings["tls_key"])
        assert await _shown(server) == "renewed"
        settings["tls_key"].unlink()
        assert await _shown(server) == "renewed"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"tls_key": CERTIFICATES / "camera.key"}, "the key is not that of the certificate"),
        ({"tls_key": CERTIFICATES / "missing.key"}, "No such file"),
        ({"tls_key": Path(__file__)}, "expected two PEM files"),
        ({"tls_key": None}, "both --tls-certificate and --tls-key"),
        ({"tls_certificate": None, "tls_key": None, "tls_client_ca": CA}, "both --tls-cert"),
        ({"tls_client_ca": CERTIFICATES / "camera.key"}, "expected a PEM file of certificates"),
        ({"tls_client_ca": CERTIFICATES / "missing.pem"}, "No such file"),
    ],
)
def test_files_that_cannot_be_used_end_the_start(tmp_path, settings, change, expected):
    config = ServerConfig(repository=tmp_path, **{**settings, **change})
    with pytest.raises(StartError, match=expected):
        server_credentials(
            CertificateFiles.from_settings(
                config.tls_certificate, config.tls_key, config.tls_client_ca
            )
        )


def test_client_files_that_cannot_be_used_are_told():
    with pytest.raises(ClientError, match="give both"):
        AsyncClient(certificate=CERTIFICATES / "camera.pem")
    with pytest.raises(ClientError, match=r"missing\.pem cannot be read: No such file"):
        AsyncClient(ca=CERTIFICATES / "missing.pem")


def test_without_files_there_is_no_tls():
    assert CertificateFiles.from_settings(None, None, None) is None


async def test_the_name_in_a_certificate_is_the_callers(repository, serving, settings, monkeypatch):
    repository.add("affine")
    async with serving(**settings, tls_client_ca=CA) as (server, _):
        seen = []
        index = server.dataplane.index

        def note():
            seen.append(current_caller().identity)
            return index()

        monkeypatch.setattr(server.dataplane, "index", note)
        own = {"certificate": CERTIFICATES / "camera.pem", "key": CERTIFICATES / "camera.key"}
        async with AsyncClient(server.address, ca=CA, retries=0, **own) as client:
            await client.repository_index()
    assert set(seen) == {"camera"}
