"""Never lost, never twice, in order: over the worker's own code, in every world that chance or Hypothesis comes up with."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.chaos.simulation import Simulation, simulate

WORLDS = [
    pytest.param({"keyed": True}, id="a provider with keys"),
    pytest.param({"keyed": True, "burns": True}, id="one that remembers refused keys too"),
    pytest.param({"keyed": False}, id="a provider without keys"),
    pytest.param({"keyed": False, "messages": (2, 1, 0, 1)}, id="much waiting"),
]


class Machine(RuleBasedStateMachine):
    """Hypothesis chooses what happens; what it finds, it makes short."""

    world: Simulation

    @initialize(keyed=st.booleans(), burns=st.booleans(), messages=st.tuples(*[st.integers(0, 2)] * 4))
    def begin(self, keyed: bool, burns: bool, messages: tuple[int, ...]) -> None:
        self.world = Simulation(keyed=keyed, burns=burns, messages=messages)

    @rule(choice=st.integers(0, 10_000))
    def happen(self, choice: int) -> None:
        actions = self.world.actions()
        actions[choice % len(actions)]()

    @invariant()
    def promises_hold(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.calm_down()


Machine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestMachine = Machine.TestCase


@pytest.mark.parametrize("world", WORLDS)
def test_every_promise_holds_in_two_thousand_random_worlds(world: dict) -> None:
    for seed in range(2_000):
        simulate(seed, **world)
