"""Property tests against the database."""

from hypothesis import HealthCheck, Phase, settings

# The same few examples each time, and with --hypothesis-profile=thorough many that
# differ, without the hours of making a failing one smaller.
_PATIENT = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
settings.register_profile("quick", parent=_PATIENT, max_examples=15, derandomize=True)
settings.register_profile("thorough", parent=_PATIENT, max_examples=1000, phases=[Phase.explicit, Phase.generate])
