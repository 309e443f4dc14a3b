"""The flags of `s5rl train`, and what is refused, without any training."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from pathlib import Path

import pytest

from s5rl.agents import A2CConfig, PPOConfig
from s5rl.agents.make_agent import ALGORITHMS
from s5rl.commands import train as train_module
from s5rl.commands.choices import CORES, DEFAULT, PRESETS
from s5rl.commands.counts import whole_number
from s5rl.commands.environments import parse_options
from s5rl.commands.settings import read_settings
from s5rl.cores import AttentionCore, FeedForwardCore, GRUCore, LSTMCore, ResettableS5Core
from s5rl.training import CheckpointError, NonFiniteError

OWN_CORE = f"{Path(__file__).parents[2] / 'examples' / 'my_core.py'}:MyCore"


@pytest.fixture
def parsed(s5rl, monkeypatch):
    """Returns what a command line means, instead of training."""

    def parse(*words):
        seen = []
        monkeypatch.setattr(train_module, "_train", lambda *arguments: seen.append(arguments) or 0)
        outcome = s5rl("train", *words)
        assert outcome.status == 0, outcome.complaint
        return seen[0]

    return parse


@pytest.fixture
def trained(s5rl, monkeypatch):
    """Runs `s5rl train` with another function in the place of `s5rl.training.train`."""

    def run(function, *words):
        monkeypatch.setattr(train_module, "train_agent", function)
        monkeypatch.setattr(train_module, "summarize", lambda *_: None)
        return s5rl("train", "memory_chain", "--env", "memory_length=2", *words)

    return run


def raiser(error):
    def raise_(*_, **__):
        raise error

    return raise_


@pytest.mark.parametrize(
    ("algorithm", "core"),
    [("a2c", "lstm"), ("muesli", "s5"), *(("ppo", core) for core in CORES)],
    ids="-".join,
)
def test_help_shows_every_field_with_its_default(s5rl, algorithm, core):
    outcome = s5rl("train", "--help", "--algorithm", algorithm, "--core", core)
    assert outcome.status == 0
    _, config_class = ALGORITHMS[algorithm]
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    fields |= {f"core.{field.name}": field for field in dataclasses.fields(CORES[core])}
    fields |= {field.name: field for field in dataclasses.fields(train_module.TrainFlags)[1:]}
    shown = " ".join(outcome.shown.replace("│", " ").split())
    for name, field in fields.items():
        flag = f"--{name.replace('_', '-')}"
        entry = shown.partition(f" {flag}")[2].partition(" --")[0]
        assert entry, flag
        default = (
            " ".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)
        )
        assert f"(default: {default})" in shown.partition(f" {flag}")[2] or field.name == "env", flag
    assert ("--td-lambda" in shown) == (algorithm == "a2c")
    assert "discount factor of a step" in shown  # from the docstring


def test_help_names_every_algorithm_and_preset():
    for name in (*ALGORITHMS, *PRESETS):
        assert name in train_module.TrainFlags.__doc__ or name == DEFAULT


def test_help_shows_the_defaults_of_a_preset(s5rl):
    shown = " ".join(s5rl("train", "--help", "--preset", "popgym").shown.replace("│", " ").split())
    assert "--learning-rate FLOAT of Adam. (default: 5e-05)" in shown
    assert "--core.num-layers INT number of layers. (default: 4)" in shown
    assert "(default: 128 256)" in shown


@pytest.mark.parametrize(
    ("words", "config", "core"),
    [
        ("", PPOConfig(), ResettableS5Core()),
        ("--preset popgym", PPOConfig.popgym(), ResettableS5Core.popgym()),
        ("--preset=popgym --core=gru", PPOConfig.popgym(), GRUCore.popgym()),
        ("--preset bsuite --algorithm a2c", A2CConfig.bsuite(), ResettableS5Core.bsuite()),
        ("--preset bsuite --algorithm a2c --core attention", A2CConfig.bsuite(), AttentionCore.bsuite()),
        ("--core lstm --core.hidden-size 3 --max-kl 0.1", PPOConfig(max_kl=0.1), LSTMCore(3)),
        ("--core feed_forward --core.hidden-sizes 3 4", PPOConfig(), FeedForwardCore((3, 4))),
        (
            "--preset popgym --torso-sizes 3 --no-observe-is-first --max-gradient-norm None",
            dataclasses.replace(
                PPOConfig.popgym(), torso_sizes=(3,), observe_is_first=False, max_gradient_norm=None
            ),
            ResettableS5Core.popgym(),
        ),
    ],
)
def test_flags_change_the_preset(parsed, words, config, core):
    flags, *settings = parsed("memory_chain", *words.split())
    assert flags.environment == "memory_chain"
    assert settings == [config, core]


def test_a_core_of_ones_own_is_taken_as_it_is(parsed, s5rl):
    assert "--core." not in s5rl("train", "--help", "--core", OWN_CORE).shown
    flags, config, core = parsed("memory_chain", "--core", OWN_CORE, "--discount", "0.5")
    assert type(core).__name__ == "MyCore"
    assert config == PPOConfig(discount=0.5)
    assert flags.folder == Path("runs/memory_chain/ppo-MyCore")


def test_the_folder_is_named_after_the_run(parsed):
    flags, *_ = parsed("popgym/RepeatPreviousEasy", "--algorithm", "a2c", "--core", "gru")
    assert flags.folder == Path("runs/popgym-RepeatPreviousEasy/a2c-gru")
    flags, *_ = parsed("popgym/RepeatPreviousEasy", "--directory", "here")
    assert flags.folder == Path("here")


def test_counts_and_options_are_understood(parsed):
    words = "memory_chain --env memory_length=3 --env num_bits=2 --num-steps 15e6 --evaluate-every 1_000"
    flags, *_ = parsed(*words.split())
    assert (flags.num_steps, flags.evaluate_every) == (15_000_000, 1000)
    assert parse_options(flags.env) == {"memory_length": 3, "num_bits": 2}


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("1_000", 1000), ("1.5e3", 1500), ("-2", -2)])
def test_whole_numbers(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["1.5", "many", "inf", "nan", ""])
def test_other_numbers_are_no_counts(text):
    with pytest.raises(ValueError):
        whole_number(text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train", "ENVIRONMENT"),
        ("train memory_chain", "memory_chain cannot be made with the options {}"),
        ("train memory_chain --env memory_length=0", "memory_length must be an integer of at least 1, got 0"),
        ("train memory_chain --env memory_length=x", "--env must be NAME=VALUE"),
        ("train memory_chain --env 3", "--env must be NAME=VALUE"),
        ("train popgym/RepeatPreviousEasi", "the nearest are ['RepeatPreviousEasy'"),
        (
            "train x --core ltsm",
            "--core must be one of 's5', 'lru', 'lstm', 'gru', 'attention', 'feed_forward'",
        ),
        ("train x --core nowhere:Core", "importing 'nowhere' failed"),
        ("train x --core nowhere.py:Core", "there is no file 'nowhere.py'"),
        ("train x --algorithm dqn", "--algorithm must be one of 'ppo', 'a2c', 'muesli', got 'dqn'"),
        (
            "train x --preset paper",
            "--preset must be one of 'default', 'popgym', 'bsuite', 'projected_dm_control', got 'paper'",
        ),
        ("train x --preset bsuite", "not there for PPOConfig, which has: default, popgym"),
        ("train x --preset popgym --algorithm a2c", "not there for A2CConfig, which has: default, bsuite"),
        ("train x --num-steps 1.5", "expected a whole number such as 1_000_000 or 15e6, got '1.5'"),
        ("train x --num-minibatches 3", "num_minibatches must divide the number of sequences"),
        ("train x --core gru --core.hidden-size 0", "hidden_size must be an integer of at least 1, got 0"),
        ("train x --core gru --core.state-size 8", "--core.state-size"),
        ("train x --wandb project", "unknown environment 'x'"),
        ("train memory_chain --env memory_length=2 --wandb project", "pip install wandb"),
        (
            "train memory_chain --env memory_length=2 --num-steps 0",
            "num_steps must be an integer of at least",
        ),
        ("train memory_chain --env memory_length=2 --seed -1", "seed must be"),
        (
            "train memory_chain --env memory_length=2 --memory-budget much",
            "memory_budget must be an integer of at least 1, in bytes, or a text such as",
        ),
        ("resume nowhere", "directory nowhere holds no run"),
        ("evaluate nowhere", "directory nowhere holds no run"),
        ("plot nowhere", "directory nowhere holds no run"),
        ("plot", "DIR must be at least one folder"),
    ],
)
def test_wrong_words_are_refused(s5rl, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    outcome = s5rl(*words.split())
    assert outcome.status == 2
    assert message in outcome.complaint
    assert "Traceback" not in outcome.complaint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(s5rl, tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run"
    words = ["train", "memory_chain", "--env", "memory_length=2", "--core", "gru", "--directory"]
    outcome = s5rl(*words, folder)
    assert outcome.status == 2
    assert str(folder) in outcome.complaint


def test_damaged_settings_are_refused(s5rl, tmp_path):
    (tmp_path / "command.json").write_text('{"environment": "memory_chain"}')
    outcome = s5rl("train", "memory_chain", "--env", "memory_length=2", "--directory", tmp_path)
    assert outcome.status == 2
    assert "command.json is damaged" in outcome.complaint


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NonFiniteError("loss is nan at step 7"), 1),
        (CheckpointError("the disk is full"), 1),
        (KeyboardInterrupt("stopped after 3 updates"), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_ends_a_run_is_told_without_a_traceback(trained, error, status):
    outcome = trained(raiser(error))
    assert outcome.status == status
    assert outcome.complaint == str(error) or outcome.complaint == "stopped."


def test_faults_of_the_program_keep_their_traceback(trained):
    with pytest.raises(KeyError):
        trained(raiser(KeyError("fault")))


def test_a_variable_brings_the_traceback_back(trained, monkeypatch):
    monkeypatch.setenv("S5RL_TRACEBACK", "1")
    with pytest.raises(NonFiniteError):
        trained(raiser(NonFiniteError("loss is nan")))


def test_loggers_are_made_and_a_run_of_wandb_keeps_its_id(trained, tmp_path, monkeypatch):
    wandb = types.SimpleNamespace(settings=[])
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    wandb.init = lambda **settings: (
        wandb.settings.append(settings)
        or types.SimpleNamespace(define_metric=lambda *_, **__: None, finish=lambda: None)
    )

    def start(*_, loggers, **__):
        for logger in loggers:
            logger.start(0)
            logger.write("metrics", [])
            logger.close()

    words = ["--directory", tmp_path, "--tensorboard", "--wandb", "memory"]
    for _ in range(2):
        assert trained(start, *words).status == 0
    first, second = wandb.settings
    assert first == second
    assert first["project"] == "memory"
    assert first["id"] == json.loads((tmp_path / "command.json").read_text())["wandb_id"]
    assert list((tmp_path / "tensorboard").iterdir())
    settings = read_settings(tmp_path)
    assert (settings.tensorboard, settings.wandb, settings.options) == (True, "memory", ("memory_length=2",))
