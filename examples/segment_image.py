"""Three points on an object and one beside it -> its mask, as a picture."""

import argparse

import cv2

from m2n2_engine import M2N2SegmentationModel, StableDiffusion2AttentionAggregator

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("image", help="image file, at least 301 x 287 pixels")
parser.add_argument("--output", default="mask.png", help="picture to write: 255 object, 0 background")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
parser.add_argument("--model-id", help="hub repository or folder of a Stable Diffusion 2")
parser.add_argument("--grid", type=int, help="cells along each side of the attention grid")
options = parser.parse_args()

image_rgb = cv2.imread(options.image)[:, :, ::-1]
points = [(300, 175), (135, 140), (200, 150), (200, 286)]
points_in_segment = [True, True, True, False]
attn_aggregator = StableDiffusion2AttentionAggregator(
    device=options.device, model_id=options.model_id, grid=options.grid
)
model = M2N2SegmentationModel(attn_aggregator)
segmentation = model.segment(img=image_rgb, points=points, points_in_segment=points_in_segment)

cv2.imwrite(options.output, segmentation * 255)
