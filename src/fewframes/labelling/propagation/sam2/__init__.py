"""SAM 2: the objects of a key frame tracked to its neighbours, many tracks at a time, each direction by itself.

Only the engine is here so far: it is no method of `propagation.METHODS` yet.
"""
