"""A `run` that ends with its test, and an agent in its folder."""

import pytest

from builders_run import Agent, Run


@pytest.fixture
def run():
    running = []

    def start(script, *options, arena=None, **said):
        running.append(Run(script, *options, arena=arena, **said))
        return running[-1]

    yield start
    for each in running:
        each.close()


@pytest.fixture
def agent(tmp_path):
    agent = Agent(tmp_path)
    yield agent
    agent.close()
