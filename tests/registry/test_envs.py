"""Every registered environment, tested by being registered."""

from __future__ import annotations

import pickle
import warnings

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode

from visenv import ToolCallSpace, VisenvEnv, VisenvVectorEnv, env_ids, make_agent, make_experts, plugins
from visenv.agent import EpisodeSpec

IDS = env_ids()
TOOLSETS = plugins.names("toolsets")
ALLOWED = ("A Box observation space",)


@pytest.fixture(scope="module")
def embedded():
    return make_experts("embedded:threads=1")


def _make(env_id, experts, **kwargs):
    return gym.make(env_id, experts=experts, **kwargs)


def _play(env, seed, steps, action_seed=5):
    space = ToolCallSpace(env.unwrapped.rules.toolset.for_answers(env.unwrapped.task.kind), seed=action_seed)
    seen = [env.reset(seed=seed)]
    for _ in range(steps):
        step = env.step(space.sample())
        seen.append(step)
        if step[2] or step[3]:
            seen.append(env.reset())
    return seen


def test_every_task_plugin_has_an_id():
    assert [i.removeprefix("visenv/").rpartition("-v")[0] for i in IDS] == plugins.names("tasks") and len(IDS) >= 5


@pytest.mark.parametrize("toolset", TOOLSETS)
@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_check_env(env_id, toolset, embedded):
    env = _make(env_id, embedded, toolset=toolset, render_mode="rgb_array")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=False)
    unexpected = [
        w for w in caught if not any(a in str(w.message) for a in ALLOWED) and w.category is not DeprecationWarning
    ]
    # Recreating the environment from its spec shares the expert set; nothing else may be remarked.
    assert not unexpected, [str(w.message) for w in unexpected]


@pytest.mark.parametrize("env_id", IDS)
def test_two_seeded_environments_agree(env_id, embedded):
    first, second = (_play(_make(env_id, embedded), seed=3, steps=8) for _ in range(2))
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert data_equivalence(a, b)


@pytest.mark.parametrize("env_id", IDS)
def test_observations_stay_in_the_space_and_reward_in_bounds(env_id, embedded):
    env = _make(env_id, embedded, disable_env_checker=True)
    for step in _play(env, seed=1, steps=8):
        assert env.observation_space.contains(step[0])
        if len(step) == 5:
            assert 0.0 <= step[1] <= 1.0 and type(step[2]) is bool and type(step[3]) is bool


@pytest.mark.parametrize("env_id", IDS)
def test_the_vector_environment_plays_the_same_episodes(env_id, embedded):
    num_envs, steps = 3, 6
    vector = gym.make_vec(env_id, num_envs=num_envs, experts=embedded)
    assert isinstance(vector.unwrapped, VisenvVectorEnv)
    alone = gym.vector.SyncVectorEnv([lambda: _make(env_id, embedded, disable_env_checker=True)] * num_envs)
    assert alone.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert data_equivalence(vector.reset(seed=7)[0], alone.reset(seed=7)[0])
    spaces = [ToolCallSpace(vector.unwrapped.single_action_space.toolset, seed=i) for i in range(num_envs)]
    for _ in range(steps):
        actions = [s.sample() for s in spaces]
        got, expected = vector.step(actions), alone.step(actions)
        for a, b in zip(got[:4], expected[:4], strict=True):
            assert data_equivalence(a, b) if isinstance(a, dict) else np.array_equal(a, b)
        assert set(got[4]) == set(expected[4])
    assert vector.observation_space.contains(got[0])


def test_disabled_autoreset_waits_for_a_reset_mask(embedded):
    vector = VisenvVectorEnv(2, task="EmojiRef", experts=embedded, autoreset_mode="Disabled")
    vector.reset(seed=0)
    done, other = {"name": "submit_none", "arguments": {}}, {"name": "view", "arguments": {"images": ["img_0"]}}
    _, _, terminated, _, _ = vector.step([done, other])
    assert terminated.tolist() == [True, False]
    with pytest.raises(ValueError, match="reset_mask"):
        vector.step([other, other])
    observation, infos = vector.reset(options={"reset_mask": np.array([True, False])})
    assert observation["turn"].tolist() == [0, 1] and infos["_sample_id"].tolist() == [True, False]
    vector.step([other, other])


@pytest.mark.parametrize("env_id", IDS)
def test_environments_and_spaces_can_be_pickled(env_id, embedded):
    env = _make(env_id, "embedded").unwrapped
    assert pickle.loads(pickle.dumps(env.action_space)) == env.action_space
    assert pickle.loads(pickle.dumps(env.observation_space)) == env.observation_space
    assert isinstance(cloudpickle.loads(cloudpickle.dumps(env)), VisenvEnv)
    assert gym.envs.registration.EnvSpec.from_json(gym.spec(env_id).to_json()).id == env_id


@pytest.mark.parametrize(
    "name", [n for n in plugins.names("agents") if n not in ("oracle", "demonstrator", "one-shot-mllm", "zero-shot")]
)
@pytest.mark.parametrize("env_id", IDS)
def test_every_agent_plays_every_task_to_an_end(env_id, name, embedded):
    env = _make(env_id, embedded, disable_env_checker=True).unwrapped
    observation, _ = env.reset(seed=2)
    spec = EpisodeSpec(
        task=env.task.name, split=env.split, level=env.level, kind=env.task.kind, toolset=env.episode.toolset,
        max_turns=env.rules.max_turns, seed=0,
    )  # fmt: skip
    if name == "prior" and "train" not in env.task.splits:
        pytest.skip(f"prior learns from a split 'train', which {env.task.name} has not")
    player = make_agent(name).start(spec)
    for _ in range(env.rules.max_turns):
        observation, _, terminated, truncated, info = env.step(player.act(observation))
        if terminated or truncated:
            break
    assert info["reason"] is not None and (name == "random" or info["reason"] == "submitted"), info
