"""Which constants an engine runs with."""

import dataclasses

import pytest

from m2n2_engine.backbones import BACKBONES, load_backbone
from m2n2_engine.config import Decision, EngineConfig, MethodConfig
from m2n2_engine.errors import ConfigurationError
from m2n2_engine.presets import KEYS_AND_COLOURS, PAPER, PRESETS, ChosenMethod, choose_method, parse_change


def test_the_paper_s_preset_is_every_default():
    assert PRESETS[PAPER] == MethodConfig()
    assert choose_method(EngineConfig(), KEYS_AND_COLOURS) == ChosenMethod(PAPER, MethodConfig())


def test_auto_is_the_backbone_s_own():
    config = EngineConfig(preset="auto")
    assert [choose_method(config, name) for name in PRESETS] == [ChosenMethod(*pair) for pair in PRESETS.items()]
    own = {name: spec.preset for name, spec in BACKBONES.items()}
    assert {name for name in own if own[name] == KEYS_AND_COLOURS} == {name for name in own if "dinov2" in name}


def test_changes_are_made_to_the_preset():
    config = EngineConfig(preset=KEYS_AND_COLOURS, changes={"temperature": 0.5, "decision": "joint"})
    expected = PRESETS[KEYS_AND_COLOURS].replace(temperature=0.5, decision=Decision.JOINT)
    assert choose_method(config, PAPER) == ChosenMethod("keys-and-colours, temperature=0.5, decision=joint", expected)


def test_constants_given_whole_win():
    method = MethodConfig(max_steps=3)
    assert choose_method(EngineConfig(preset=KEYS_AND_COLOURS, method=method), PAPER).constants is method


def test_an_unknown_preset_names_what_is_allowed():
    with pytest.raises(ConfigurationError, match="unknown preset 'best': use one of auto, paper, keys-and-colours"):
        choose_method(EngineConfig(preset="best"), PAPER)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("temperature=0.5", ("temperature", 0.5)),
        (" max_steps = 10 ", ("max_steps", 10)),
        ("key_sharpness=none", ("key_sharpness", None)),
        ("key_sharpness=12", ("key_sharpness", 12.0)),
        ("decision=joint", ("decision", Decision.JOINT)),
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
        ("centring=-1", "must be a number that is not negative"),
        ("centring=nan", "must be a number that is not negative"),
        ("max_steps=1.5", "must be a whole number that is not negative"),
        ("decision=best", "must be one of joint, stepwise"),
    ],
)
def test_changes_that_cannot_be(text, message):
    with pytest.raises(ConfigurationError, match=message):
        parse_change(text)


def test_the_fingerprint_tells_attention_of_keys_apart():
    config = EngineConfig(backbone="tiny", device="cpu")
    sharp = [dataclasses.replace(config, changes={"key_sharpness": value}) for value in (None, 8, 12)]
    loaded = [load_backbone(each) for each in sharp]
    assert len({each.backbone.fingerprint for each in loaded}) == 3
    assert [each.method.chain.key_sharpness for each in loaded] == [None, 8, 12]
