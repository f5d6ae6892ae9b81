"""Which constants an engine runs with."""

import dataclasses

import pytest

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


def test_the_fingerprint_tells_attention_of_keys_apart():
    config = EngineConfig(backbone="tiny", device="cpu")
    sharp = [dataclasses.replace(config, changes={"key_sharpness": value}) for value in (None, 8, 12)]
    loaded = [load_backbone(each) for each in sharp]
    assert len({each.backbone.fingerprint for each in loaded}) == 3
    assert [each.method.chain.key_sharpness for each in loaded] == [None, 8, 12]
