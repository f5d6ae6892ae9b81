"""GroupNorm by the GPU's kernels, there or in Triton's interpreter, against torch's own."""

import copy

import pytest
import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.nn.functional import group_norm as plain

from m2n2_engine.kernels.cpu import CpuKernels
from m2n2_engine.kernels.cuda.group_norm import ChunkedGroupNorm, group_norm

TOLERANCE = 4e-3
"""Of the trial by hand, beside which values lie mostly in -4..4."""


def draw(device, shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


def draw_affine(device, channels, dtype):
    return 1 + 0.1 * draw(device, (channels,), dtype, 1), draw(device, (channels,), dtype, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((1, 4, 5, 7), 2),
        ((2, 6, 3, 11), 6),
        ((3, 8, 1, 1), 4),
        ((1, 4, 63, 65), 1),
        ((1, 2, 97, 101), 2),
        ((1, 12, 13), 3),
        ((2, 3, 2, 3, 5), 3),
    ],
    ids=["odd", "a group a channel", "one pixel", "four blocks", "three blocks a channel", "no rows", "three axes"],
)
def test_it_is_torchs(device, shape, groups, dtype):
    values = draw(device, shape, dtype)
    weight, bias = draw_affine(device, shape[1], dtype)
    found = group_norm(values, groups, weight, bias, 1e-6)
    assert (found.shape, found.dtype) == (values.shape, dtype)
    expected = plain(values.float(), groups, weight.float(), bias.float(), 1e-6)
    torch.testing.assert_close(
        found.float(), expected, rtol=2.0**-10, atol=TOLERANCE if dtype is torch.float16 else 2e-5
    )


def test_more_blocks_than_parts(device):
    """300,000 elements are 74 blocks: a part has two, the last one fewer."""
    values = draw(device, (1, 3, 250, 400)) + 5
    weight, bias = draw_affine(device, 3, torch.float32)
    found = group_norm(values, 1, weight, bias, 1e-6)
    torch.testing.assert_close(found, plain(values, 1, weight, bias, 1e-6), rtol=0, atol=5e-5)


@pytest.mark.parametrize("mean", [1e3, -3e4], ids=str)
def test_a_mean_far_from_0_costs_no_digits(device, mean):
    """A mean of squares less the square of the mean has no digit of such a variance in float32."""
    values = draw(device, (1, 4, 60, 90)) + mean
    weight, bias = draw_affine(device, 4, torch.float32)
    found = group_norm(values, 2, weight, bias, 1e-6)
    exact = plain(values.double(), 2, weight.double(), bias.double(), 1e-6).float()
    torch.testing.assert_close(found, exact, rtol=0, atol=TOLERANCE)


def test_channels_of_different_means_are_told_apart(device):
    """The parts of a group differ more than the values within any of them."""
    values = draw(device, (1, 4, 64, 128)) * 0.01 + torch.tensor([-8.0, 0.0, 1.0, 700.0], device=device)[:, None, None]
    weight, bias = draw_affine(device, 4, torch.float32)
    found = group_norm(values, 1, weight, bias, 1e-6)
    exact = plain(values.double(), 1, weight.double(), bias.double(), 1e-6).float()
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)


def test_equal_values_become_the_biases(device):
    weight, bias = draw_affine(device, 4, torch.float16)
    found = group_norm(torch.full((1, 4, 9, 9), 3.0, device=device, dtype=torch.float16), 2, weight, bias, 1e-6)
    torch.testing.assert_close(found, bias[None, :, None, None].expand(1, 4, 9, 9), rtol=0, atol=0)


def test_values_in_another_order_of_axes(device):
    values = draw(device, (2, 4, 6, 10)).to(memory_format=torch.channels_last)
    weight, bias = draw_affine(device, 4, torch.float32)
    torch.testing.assert_close(group_norm(values, 2, weight, bias, 1e-5), plain(values, 2, weight, bias, 1e-5))


def build_network(device):
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8, eps=1e-6), nn.SiLU())
    network = nn.Sequential(block, nn.GroupNorm(2, 8, affine=False), nn.GroupNorm(8, 8))
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.2)
    return network.to(device).eval().requires_grad_(False)


def test_a_networks_group_norms_are_replaced(device, kernels):
    network = build_network(device)
    before, names = copy.deepcopy(network), [*network.state_dict()]
    kernels.replace_modules(network)
    kinds = [type(module) for module in network.modules() if isinstance(module, nn.GroupNorm)]
    assert kinds == [ChunkedGroupNorm, nn.GroupNorm, ChunkedGroupNorm]
    assert [*network.state_dict()] == names
    image = draw(device, (1, 3, 10, 14))
    torch.testing.assert_close(network(image), before(image), rtol=1e-4, atol=1e-4)
    # Types that the kernels do not sum take torch's.
    torch.testing.assert_close(network.double()(image.double()), before.double()(image.double()))


def test_the_vae_of_stable_diffusion_gives_the_same_latents(device, kernels, parity_folder):
    folder = parity_folder / "tiny-sd2" / "vae"
    plain_vae, vae = (AutoencoderKL.from_pretrained(folder, local_files_only=True).to(device).eval() for _ in range(2))
    vae.requires_grad_(False)
    kernels.replace_modules(vae)
    assert any(isinstance(module, ChunkedGroupNorm) for module in vae.encoder.modules())
    pixels = draw(device, (1, 3, 40, 56)).clamp(-1, 1)
    with torch.inference_mode():
        found, expected = (each.encode(pixels).latent_dist.mode() for each in (vae, plain_vae))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_the_processors_kernels_leave_a_network_as_it_is():
    network = build_network("cpu")
    CpuKernels().replace_modules(network)
    assert not any(isinstance(module, ChunkedGroupNorm) for module in network.modules())
