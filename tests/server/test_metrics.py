"""What a scrape tells, over HTTP, of a server that has worked."""

import asyncio
import re
import socket
import urllib.error
import urllib.request

import numpy as np
import pytest
from tests.server.tiny import BATCHING, affine, status_of

from eyespot.server.app import Server
from eyespot.server.config import ServerConfig
from eyespot.server.errors import StartError


async def scrape(port):
    """The samples by name and labels."""
    url = f"http://127.0.0.1:{port}/metrics"

    def read():
        with urllib.request.urlopen(url, timeout=60) as response:
            return response.read().decode()

    text = await asyncio.to_thread(read)
    samples = re.findall(r"^(\w+(?:\{[^}]*\})?) ([\d.e+-]+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in samples}, text


async def test_a_scrape_counts_what_was_done(repository, serving, free_port):
    repository.add("net", affine(), config=BATCHING.format(rows=8, options=""))
    async with serving(metrics_port=free_port) as (_, client):
        await client.infer("net", x=np.ones((3, 4), np.float32))
        await client.infer("net", x=np.ones((1, 4), np.float32))
        await status_of(client.infer("net", x=np.ones((1, 5), np.float32)))  # never admitted
        samples, text = await scrape(free_port)
    of_net = '{model="net",version="1"}'
    assert samples[f"eyespot_inference_request_success{of_net}"] == 2
    assert samples[f"eyespot_inference_count{of_net}"] == 4
    assert samples[f"eyespot_inference_exec_count{of_net}"] == 2
    assert samples[f"eyespot_inference_pending_request_count{of_net}"] == 0
    assert samples[f"eyespot_inference_explain_failure{of_net}"] == 0
    for what in ("request", "queue", "compute_input", "compute_infer", "compute_output"):
        assert samples[f"eyespot_inference_{what}_duration_us{of_net}"] >= 0
    assert samples[f"eyespot_inference_request_duration_us{of_net}"] > 0
    for reason in ("REJECTED", "CANCELED", "BACKEND", "OTHER"):
        labels = f'{{model="net",reason="{reason}",version="1"}}'
        assert samples[f"eyespot_inference_request_failure{labels}"] == 0
    # Batches of 3 rows and of 1.
    rows = {
        bound: samples[
            f'eyespot_inference_batch_rows_bucket{{le="{bound}",model="net",version="1"}}'
        ]
        for bound in ("1.0", "2.0", "4.0", "+Inf")
    }
    assert rows == {"1.0": 1, "2.0": 1, "4.0": 2, "+Inf": 2}
    assert samples[f"eyespot_inference_batch_rows_sum{of_net}"] == 4
    assert samples[f"eyespot_inference_compute_seconds_count{of_net}"] == 2
    assert samples["process_resident_memory_bytes"] > 1e6
    assert "# HELP eyespot_inference_request_success Requests that were answered" in text


async def test_failures_have_their_reason(repository, serving, free_port, monkeypatch):
    repository.add("net", affine())
    async with serving(metrics_port=free_port) as (server, client):
        model = server.dataplane.model("net")

        def fail(inputs):
            raise RuntimeError("on purpose")

        monkeypatch.setattr(model._session, "run", fail)
        await status_of(client.infer("net", x=np.ones((1, 4), np.float32)))
        await model.drain()
        await status_of(client.infer("net", x=np.ones((1, 4), np.float32)))
        samples, _ = await scrape(free_port)
    failures = {
        reason: samples[
            f'eyespot_inference_request_failure{{model="net",reason="{reason}",version="1"}}'
        ]
        for reason in ("REJECTED", "CANCELED", "BACKEND")
    }
    assert failures == {"REJECTED": 1, "CANCELED": 0, "BACKEND": 1}


async def test_the_port_is_given_back(repository, serving, free_port):
    repository.add("net", affine())
    for _ in range(2):
        async with serving(metrics_port=free_port):
            samples, _ = await scrape(free_port)
            assert any(name.startswith("eyespot_inference_count") for name in samples)
    with pytest.raises(urllib.error.URLError):
        await scrape(free_port)


async def test_a_port_that_is_taken_is_told(repository):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = Server(ServerConfig(repository=repository.path, port=0, metrics_port=port))
        with pytest.raises(StartError, match=rf"port {port}: .*choose another --metrics-port"):
            await server.start()
        await server.stop()
