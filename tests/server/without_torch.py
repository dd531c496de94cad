"""A process in which PyTorch cannot be imported serves a repository and asks it, as JSON."""

import asyncio
import json
import sys
from pathlib import Path

sys.modules["torch"] = None  # type: ignore[assignment]  # whoever imports it is told it is not there

import numpy as np

from eyespot.client import Client
from eyespot.server.app import Server
from eyespot.server.config import ServerConfig


async def main(repository: str, model: str, inputs: str, methods: str, backend: str) -> None:
    server = Server(ServerConfig(repository=Path(repository), port=0, explain_backend=backend))
    await server.start()
    try:
        await server.load()
        found = await asyncio.to_thread(ask, server.address, model, inputs, methods.split(","))
    finally:
        await server.stop()
    print(json.dumps(found))


def ask(address: str, model: str, inputs: str, methods: list[str]) -> dict[str, object]:
    x = np.load(inputs)
    with Client(address) as client:
        listed = client.list_methods(model)
        found: dict[str, object] = {
            "logits": client.infer(model, {"input": x})["logits"].tolist(),
            "refused": {each.name: each.reason for each in listed.methods if not each.available},
        }
        for method in methods:
            explained = client.explain(model, x, method=method, channel_reduction="none")
            found[method] = {
                "backends": [each.backend for each in explained],
                "targets": [each.target for each in explained],
                "attributions": [each.attributions.tolist() for each in explained],
            }
    return found


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
