"""Labels nobody drew: a key frame's propagated to its neighbours, coarse ones refined, and how good they are."""
