from shoal.core.cluster_use import ClusterUse, Users


def test_idleness_counts_from_the_end_of_the_last_use():
    use = ClusterUse(100.0)
    assert use.idle_seconds(103.0) == 3.0
    assert use.changed(Users(drivers=1), 104.0)
    assert use.idle_seconds(200.0) == 0.0
    assert use.changed(Users(drivers=0, jobs=1, detached_actors=2), 205.0)
    assert use.changed(Users(detached_actors=2), 210.0)
    assert use.idle_seconds(300.0) == 0.0
    assert use.changed(Users(), 300.0)
    assert not use.changed(Users(), 305.0)
    assert use.idle_seconds(310.0) == 10.0


def test_a_clock_that_stands_still_makes_nothing_negative():
    use = ClusterUse(100.0)
    assert use.idle_seconds(99.0) == 0.0
