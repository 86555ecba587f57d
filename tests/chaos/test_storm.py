"""A short storm over real processes, broker and database; `make chaos` runs a long one."""

import pytest
from rich.console import Console

from tests import kafka as kafka_server
from tests.chaos.storm import EXPECTED_EXITS, Plan, Storm
from tests.conftest import require

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("keyed", [True, False], ids=["provider with keys", "provider without keys"])
async def test_a_storm_of_faults_loses_nothing_texts_nobody_twice_and_keeps_the_order(
    postgres, tmp_path, keyed: bool
) -> None:
    require(kafka_server.missing())
    plan = Plan(events=4_000, seconds=75, seed=11, keyed=keyed, faults=8, settle_s=120)
    with kafka_server.running(tmp_path / "kafka") as broker:
        # It is stopped and started; the database that the other tests share comes back too.
        accounts = await Storm(plan, tmp_path, broker, postgres, Console(highlight=False)).run()

    assert accounts.faults.total() == 8
    assert accounts.holds, accounts.page()
    in_flight = 3 * 60
    assert accounts.outcomes["unknown"] <= (0 if keyed else in_flight * 8)
    assert set(accounts.exits) <= EXPECTED_EXITS, accounts.page()
