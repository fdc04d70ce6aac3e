from types import SimpleNamespace

from minichar.devices.deadlock import avoid_deadlocks


def test_who_copies_waits_first_and_once_however_often_the_device_is_opened():
    events = []
    vector = SimpleNamespace(_is_available=lambda: True)
    copying = SimpleNamespace(_copy_from_numpy_into=lambda there, array: events.append(("copy", array)))
    for _ in range(3):
        avoid_deadlocks(vector, copying)
    there = SimpleNamespace(sycl_queue=SimpleNamespace(wait=lambda: events.append("wait")))
    copying._copy_from_numpy_into(there, 5)
    assert events == ["wait", ("copy", 5)]
    assert not vector._is_available()
