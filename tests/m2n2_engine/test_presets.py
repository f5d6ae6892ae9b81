"""Which constants an engine runs with."""

import dataclasses
import math

import numpy as np
import pytest

from m2n2_engine import adjust_temperature_and_ipf, create_markov_map_from_point
from m2n2_engine.backbones import BACKBONES, load_backbone
from m2n2_engine.config import CONSTANT_KINDS, Decision, EngineConfig, MethodConfig
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.presets import CONSENSUS, PAPER, PRESETS, ChosenMethod, choose_method, parse_change


def test_the_paper_s_preset_is_every_default():
    assert PRESETS[PAPER] == MethodConfig()
    assert choose_method(EngineConfig(), CONSENSUS) == ChosenMethod(PAPER, MethodConfig())


def test_auto_is_the_backbone_s_own():
    config = EngineConfig(preset="auto")
    assert [choose_method(config, name) for name in PRESETS] == [ChosenMethod(*pair) for pair in PRESETS.items()]
    own = {name: spec.preset for name, spec in BACKBONES.items()}
    assert {name for name in own if own[name] == CONSENSUS} == {name for name in own if "dinov2" in name}


def test_changes_are_made_to_the_preset():
    config = EngineConfig(preset=CONSENSUS, changes={"temperature": 0.5, "decision": "joint"})
    expected = PRESETS[CONSENSUS].replace(temperature=0.5, decision=Decision.JOINT)
    assert choose_method(config, PAPER) == ChosenMethod("consensus, temperature=0.5, decision=joint", expected)


def test_a_weight_changes_in_its_own_set_alone():
    config = EngineConfig(preset=CONSENSUS, changes={"correction.edge": "1", "box.edge": -2})
    chosen = choose_method(config, PAPER)
    before = PRESETS[CONSENSUS].constants()
    assert chosen.constants.constants() == before | {"correction.edge": 1.0, "box.edge": -2.0}
    assert chosen.constants.first_click == PRESETS[CONSENSUS].first_click
    assert chosen.name == "consensus, correction.edge=1.0, box.edge=-2.0"


@pytest.mark.parametrize("name", PRESETS)
def test_constants_are_what_replace_takes(name):
    constants = PRESETS[name].constants()
    assert set(constants) == set(CONSTANT_KINDS)
    assert MethodConfig().replace(**constants) == PRESETS[name]


@pytest.mark.parametrize("name", ["heat", "box.heat", "heat.edge"])
def test_replace_refuses_a_name_that_there_is_not(name):
    with pytest.raises(TypeError, match="heat"):
        MethodConfig().replace(**{name: 1.0})


def test_constants_given_whole_win():
    method = MethodConfig(max_steps=3)
    assert choose_method(EngineConfig(preset=CONSENSUS, method=method), PAPER).constants is method


def test_an_unknown_preset_names_what_is_allowed():
    with pytest.raises(
        ConfigurationError, match="unknown preset 'best': use one of auto, paper, consensus, paper-consensus"
    ):
        choose_method(EngineConfig(preset="best"), PAPER)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("temperature=0.5", ("temperature", 0.5)),
        (" max_steps = 10 ", ("max_steps", 10)),
        ("key_sharpness=none", ("key_sharpness", None)),
        ("key_sharpness=12", ("key_sharpness", 12.0)),
        ("decision=joint", ("decision", Decision.JOINT)),
        ("correction.edge=1", ("correction.edge", 1.0)),
        ("box.leak=-1", ("box.leak", -1.0)),
    ],
)
def test_changes_as_text(text, expected):
    assert parse_change(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("heat=1", "no constant 'heat': use one of key_sharpness, temperature, "),
        ("temperature", "temperature= cannot be used: it must be a number above 0"),
        ("temperature=hot", "temperature=hot cannot be used"),
        ("range_sigma=0", "must be a number above 0"),
        ("correction.heat=1", "no constant 'correction.heat': use one of .*, correction.edge, .*, box.leak, "),
        ("edge=1", "no constant 'edge': use one of "),
        ("majority=-1", "must be a number that is not negative"),
        ("majority=nan", "must be a number that is not negative"),
        ("box.leak=nan", "box.leak=nan cannot be used: it must be a number$"),
        ("correction.edge=steep", "correction.edge=steep cannot be used: it must be a number$"),
        ("max_steps=1.5", "must be a whole number that is not negative"),
        ("decision=best", "must be one of joint, consensus"),
    ],
)
def test_changes_that_cannot_be(text, message):
    with pytest.raises(ConfigurationError, match=message):
        parse_change(text)


NO_CONSTANTS = [
    ("temperature", 0, "temperature=0 cannot be used: it must be a number above 0"),
    ("temperature", -1, "temperature=-1 cannot be used: it must be a number above 0"),
    ("colour_edge_scale", 0, "colour_edge_scale=0 cannot be used: it must be a number above 0"),
    ("temperature", math.nan, "temperature=nan cannot be used: it must be a number above 0"),
    ("temperature", "0.65", "temperature=0.65 cannot be used: it must be a number above 0"),
    ("key_sharpness", -8.0, "key_sharpness=-8.0 cannot be used: it must be a number that is not negative, or none"),
    ("balancing_rounds", -1, "balancing_rounds=-1 cannot be used: it must be a whole number that is not negative"),
    ("click_area_limit", -0.4, "click_area_limit=-0.4 cannot be used: it must be a number that is not negative"),
    ("max_steps", -5, "it must be a whole number that is not negative"),
    ("max_steps", 2.5, "it must be a whole number that is not negative"),
    ("arrival_level", math.inf, "it must be a number that is not negative"),
    ("window_sigmas", 0.0, "it must be a number above 0"),
    ("working_size_pixels", -3, "it must be a whole number that is not negative"),
    ("edge_levels", 0, "it must be a whole number above 0"),
    ("box_side_seeds", 0, "it must be a whole number above 0"),
    ("decision", "best", "it must be one of joint, consensus"),
    ("correction.edge", math.nan, "edge=nan cannot be used: it must be a number$"),
]


@pytest.mark.parametrize(("name", "value", "message"), NO_CONSTANTS)
def test_constants_of_a_program_are_looked_at_where_they_enter(name, value, message):
    with pytest.raises(ConfigurationError, match=message):
        MethodConfig().replace(**{name: value})


def test_constants_of_published_functions_too():
    attention = np.full((2, 2, 2, 2), 0.25, np.float32)
    with pytest.raises(ConfigurationError, match="temperature=0 cannot be used"):
        adjust_temperature_and_ipf(attention, temperature=0)
    with pytest.raises(ConfigurationError, match="window_sigmas=-1 cannot be used"):
        create_markov_map_from_point(np.zeros((4, 4, 3), np.uint8), attention, (1, 1), window_sigmas=-1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("session_cache_bytes", -1), ("host_cache_bytes", -1), ("disk_cache_bytes", -1), ("threads", 0), ("grid", 0)],
)
def test_the_numbers_of_an_engine_are_looked_at_where_they_enter(name, value):
    with pytest.raises(ConfigurationError, match=f"{name}={value} cannot be used: it must be a whole number"):
        EngineConfig(**{name: value})


def test_numbers_of_numpy_are_numbers():
    method = MethodConfig().replace(temperature=np.float32(0.5), max_steps=np.int64(10), click_area_limit=1)
    assert (method.chain.temperature, method.max_steps, method.click_area_limit) == (0.5, 10, 1)


def test_the_fingerprint_tells_attention_of_keys_apart():
    config = EngineConfig(backbone="tiny", device="cpu")
    sharp = [dataclasses.replace(config, changes={"key_sharpness": value}) for value in (None, 8, 12)]
    loaded = [load_backbone(each) for each in sharp]
    assert len({each.backbone.fingerprint for each in loaded}) == 3
    assert [each.method.chain.key_sharpness for each in loaded] == [None, 8, 12]
