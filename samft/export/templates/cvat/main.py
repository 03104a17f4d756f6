"""The serverless function: an image in, its embedding out."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

from model_handler import ModelHandler
from PIL import Image


def init_context(context: Any) -> None:
    """Load the encoder once, when the function starts."""
    context.user_data.model = ModelHandler()


def handler(context: Any, event: Any) -> Any:
    """Answer one request of CVAT."""
    image = Image.open(io.BytesIO(base64.b64decode(event.body["image"]))).convert("RGB")
    embedding = context.user_data.model.handle(image)
    return context.Response(
        body=json.dumps({"blob": base64.b64encode(embedding.tobytes()).decode()}),
        headers={},
        content_type="application/json",
        status_code=200,
    )
