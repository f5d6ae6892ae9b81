"""The server of a model."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, jsonify, request

from .model import LabelStudioMLBase
from .response import ModelResponse


def init_app(model_class: type[LabelStudioMLBase]) -> Flask:
    """An application that makes a model of this class for every request."""
    app = Flask("label-studio-ml")

    def make_model(body: Any, label_config: str | None) -> LabelStudioMLBase:
        # Label Studio sends the project's number with the second that it was made in.
        return model_class(project_id=str(body["project"]).partition(".")[0], label_config=label_config)

    @app.get("/health")
    def health() -> Response:
        return jsonify(status="UP", model_class=model_class.__name__)

    @app.post("/setup")
    def setup() -> Response:
        body = request.get_json()
        model = make_model(body, body["schema"])
        if body.get("extra_params"):
            model.set("extra_params", body["extra_params"])
        return jsonify(model_version=model.model_version)

    @app.post("/predict")
    def predict() -> Response:
        body = request.get_json()
        params = dict(body.get("params") or {})
        context = params.pop("context", {})
        model = make_model(body, body.get("label_config"))
        answer = model.predict(body["tasks"], context=context, **params)
        return jsonify(results=answer.predictions if isinstance(answer, ModelResponse) else answer)

    @app.post("/webhook")
    def webhook() -> tuple[Response, int]:
        body = request.get_json()
        model = make_model({"project": body["project"]["id"]}, None)
        model.fit(body["action"], body)
        return jsonify(status="done"), 201

    return app
