"""A relay between two networks: each side sees an address of its own side (flag `direction`).

caller == RTP ==> west 192.0.2.1 [ relay ] 198.51.100.1 east == RTP ==> callee
"""

from __future__ import annotations

from tests.e2e.harness.stage import Stage


def test_each_side_gets_the_address_of_its_interface(scene: Stage) -> None:
    with scene.phones("WITH_BRIDGING") as phones:
        call = phones.establish("bridged")
        assert call.a_target[0] == scene.lab.west.ip4
        assert call.b_target[0] == scene.lab.east.ip4
        call.talk()
        phones.hang_up("bridged")
