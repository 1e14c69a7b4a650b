from shoal.core.gangs import Gang, GangBundle, grouped, told
from shoal.resources import ResourceSet

GPU = ResourceSet.from_units({"GPU": 1})
CPU = ResourceSet.from_units({"CPU": 1})


def gang(name: str, *bundles: GangBundle) -> Gang:
    return Gang(name, name, "PACK", bundles)


def test_equal_bundles_are_told_as_one():
    there = (("zone", "a"),)
    bundles = [GangBundle(GPU), GangBundle(CPU), GangBundle(GPU, 3), GangBundle(GPU, 1, there)]
    assert grouped(bundles) == (GangBundle(GPU, 4), GangBundle(CPU, 1), GangBundle(GPU, 1, there))


def test_of_too_many_gangs_the_oldest_are_told_and_the_rest_is_counted():
    shown, left_out = told([gang(f"g{n}", GangBundle(CPU)) for n in range(1010)])
    assert ([one.gang_id for one in shown[:2]], len(shown), left_out) == (["g0", "g1"], 1000, 10)


def test_what_gangs_are_made_of_is_bounded_too():
    wide = [GangBundle(ResourceSet({"CPU": n + 1})) for n in range(6)]
    shown, left_out = told([gang("a", *wide), gang("b", *wide)], most_parts=10)
    assert ([one.gang_id for one in shown], left_out) == (["a"], 1)
    shown, left_out = told([gang("a", *wide)], most_parts=5)
    assert ([one.gang_id for one in shown], left_out) == (["a"], 0), "else it would wait for ever"
    spread = Gang("c", "", "PACK", (GangBundle(CPU),), tuple(f"n{n}" for n in range(10)))
    assert told([gang("a", *wide), spread], most_parts=10)[1] == 1
