"""A server of label-studio-ml with this product's model, as its README tells to write one."""

from label_studio_ml.api import init_app

from backend.label_studio.ml_model import M2N2Model

app = init_app(model_class=M2N2Model)
