"""How far every pixel of an image is from one point, in steps of the Markov chain, as a picture."""

import argparse

import cv2

from m2n2_engine import (
    StableDiffusion2AttentionAggregator,
    adjust_temperature_and_ipf,
    create_markov_map_from_point,
)

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("image", help="image file, at least 301 x 176 pixels")
parser.add_argument("--output", default="markov_map.png", help="picture to write: dark is near, bright is far")
parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
parser.add_argument("--model-id", help="hub repository or folder of a Stable Diffusion 2")
parser.add_argument("--grid", type=int, help="cells along each side of the attention grid")
options = parser.parse_args()

image_rgb = cv2.imread(options.image)[:, :, ::-1]
attn_aggregator = StableDiffusion2AttentionAggregator(
    device=options.device, model_id=options.model_id, grid=options.grid
)
attention_tensor = attn_aggregator.extract_attention(image_rgb)
A = adjust_temperature_and_ipf(attention_tensor)
markov_map = create_markov_map_from_point(image=image_rgb, A_tensor=A, point=(300, 175))

cv2.imwrite(options.output, (markov_map / markov_map.max() * 255).byte().cpu().numpy())
