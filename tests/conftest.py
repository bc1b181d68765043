"""What holds for all tests: properties are tried on the same examples every time, however slow the machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile("fewframes", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fewframes")
