"""Point at an object in a window and watch its mask: I foreground, O background, R reset, Esc close."""

import argparse
from pathlib import Path

import cv2

from m2n2_engine import M2N2SegmentationModel, StableDiffusion2AttentionAggregator
from m2n2_engine.tools.demo import require_display, run_demo

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("image", help="image file")
parser.add_argument("--output", default="demo", help="start of the names that S saves the mask and its picture under")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
parser.add_argument("--model-id", help="hub repository or folder of a Stable Diffusion 2")
parser.add_argument("--grid", type=int, help="cells along each side of the attention grid")
options = parser.parse_args()

require_display()
image_rgb = cv2.imread(options.image)[:, :, ::-1]
attn_aggregator = StableDiffusion2AttentionAggregator(
    device=options.device, model_id=options.model_id, grid=options.grid
)
model = M2N2SegmentationModel(attn_aggregator)
run_demo(image_rgb, model.engine, Path(options.output))
