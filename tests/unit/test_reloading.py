"""What a running process adopts, and what it does not."""

import shutil
from pathlib import Path

import pytest

from tests.builders import SHIPPED
from tests.fakes import ManualClock
from worker.reloading import Reloading
from worker.routing.loading import Configuration, load_configuration
from worker.sealing import KeyRing
from worker.secret_files import add_ring_key, load_key_ring, make_current


@pytest.fixture
def folder(tmp_path) -> Path:
    its = Path(shutil.copytree(SHIPPED, tmp_path / "config"))
    worker = its / "worker.yaml"
    worker.write_text(worker.read_text().replace("data_dir: .data", "") + f"\ndata_dir: {tmp_path}\n")
    return its


@pytest.fixture
def reloading(folder, tmp_path) -> Reloading:
    ring = load_key_ring(tmp_path / "key-ring.json", create=True)
    return Reloading(load_configuration(folder), ring, ManualClock())


async def looked(reloading: Reloading, times: int = 2) -> list[Configuration]:
    adopted: list[Configuration] = []
    reloading.adopters = [adopted.append]
    for _ in range(times):
        await reloading.look()
    return adopted


async def test_what_has_stood_still_for_one_look_is_adopted(folder, reloading) -> None:
    policy = folder / "policy.yaml"
    policy.write_text(policy.read_text().replace("spread: 30m", "spread: 20m"))

    assert await looked(reloading, 1) == []  # it may be half written
    (new,) = await looked(reloading, 1)
    assert new.policy.hours.spread.total_seconds() == 1200
    assert await looked(reloading) == []


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("templates/order_shipped.yaml", "text: {fr: expédiée}".encode("latin-1"), "is not YAML in UTF-8"),
        ("templates/order_shipped.yaml", b"text: \x00", "is not YAML"),
        ("routes.yaml", b"routes: [", "is not YAML"),
        ("policy.yaml", b"", "policy.yaml is gone or empty"),
        ("policy.yaml", None, "policy.yaml is gone or empty"),
        ("policy.yaml", b"hours: {default: {opens: '02:00'}}", "08:00"),
        ("providers.yaml", None, "providers.yaml"),
    ],
)
async def test_what_is_wrong_is_refused_and_the_old_set_stays(folder, reloading, file, content, told) -> None:
    before, path = reloading.configuration, folder / file
    path.unlink() if content is None else path.write_bytes(content)

    assert await looked(reloading) == []
    assert reloading.configuration is before
    assert told in " ".join(reloading.refused)


async def test_a_restart_is_needed_for_what_cannot_change(folder, reloading) -> None:
    worker = folder / "worker.yaml"
    worker.write_text(worker.read_text() + "drain_s: 19\n")

    assert await looked(reloading) == []
    assert "worker.yaml has changed; a restart adopts it" in reloading.refused[0]


async def test_a_rotated_ring_is_taken_over_and_an_unreadable_one_is_not(reloading, tmp_path) -> None:
    path = tmp_path / "key-ring.json"
    path.chmod(0o640)
    ring: KeyRing = reloading._ring
    add_ring_key(path, "fresh")
    await reloading.look()
    known = (ring.names, ring.current)
    make_current(path, "fresh")
    mode = path.stat().st_mode & 0o777
    await reloading.look()
    current = ring.current
    path.write_text("{")
    await reloading.look()

    assert known == (["development", "fresh"], "development")
    assert current == ring.current == "fresh"
    assert mode == 0o640  # whoever could read it still can
