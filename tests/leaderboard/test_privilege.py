"""Who may know the truth: our oracle and demonstrator, by name and code, and nobody else."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from visenv.agents.oracle import Oracle
from visenv.leaderboard import run_bench
from visenv.leaderboard.cast import Cast
from visenv.leaderboard.lanes import _Lane
from visenv.leaderboard.runner import jobs_of

from visenv import plugins
from visenv.errors import UnsuitedError, VisenvError


def granted(cast, agent):
    job = next(j for j in jobs_of(cast) if j.agent == agent)
    return cast.grant(agent, _Lane(job, cast).episode)


def test_the_oracle_scores_everything_and_is_marked(settings, tmp_path):
    summary = run_bench(settings("oracle", "blob-finder", limit=4), tmp_path / "run")
    oracle, finder = summary.rows
    assert (oracle.privileged, oracle.primary, oracle.n) == (True, 1.0, 4)
    assert not finder.privileged


def test_what_each_is_granted(settings):
    cast = Cast(settings("oracle", "demonstrator", "blob-finder"))
    assert granted(cast, "blob-finder") is None
    oracle, demonstrator = granted(cast, "oracle"), granted(cast, "demonstrator")
    assert oracle.target.masks and demonstrator.target.masks and demonstrator.objects == ()
    oracle.register_target()
    assert len(oracle.objects) == 1
    with pytest.raises(VisenvError, match="oracle"):
        demonstrator.register_target()


def test_an_object_is_never_granted(settings, records, tmp_path):
    with pytest.raises(UnsuitedError, match="privilege"):
        run_bench(settings(Oracle(), limit=2), tmp_path / "run")
    assert not records(tmp_path / "run")


def test_a_namesake_is_not_granted(settings, fakes, monkeypatch):
    entry = EntryPoint(name="oracle", value="board_fakes:Finder", group="visenv.agents")
    namesake = plugins.Plugin(group="agents", name="oracle", version=0, entry_point=entry)
    known = plugins.plugins
    with monkeypatch.context() as patch:
        patch.setattr(plugins, "plugins", lambda g: {**known(g), "oracle": namesake} if g == "agents" else known(g))
        cast = Cast(settings("oracle"))
    assert cast.agent_infos[0].privileged is False and granted(cast, "oracle") is None
