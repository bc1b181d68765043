"""The profile for Slurm, without a cluster: what it asks for, for whatever stands in its site's block."""

import re

import pytest
import yaml
from slurmstudy import PROFILE
from snakemake.profiles import ProfileConfigFileParser
from study import REPOSITORY, local_rules, rule_blocks

from fewframes.labelling.models.checkpoint import PACKAGES
from fewframes.learning.settings import TrainingSettings

METHODS = {"flow", "copy", "grabcut", "none"} | {key.split(".")[1] for key in PACKAGES}


class Asked:
    """What jobs ask for by a profile."""

    def __init__(self, folder, **site):
        profile = yaml.safe_load(PROFILE.read_text())
        profile["__variables__"] |= site
        (folder / "config.yaml").write_text(yaml.safe_dump(profile, sort_keys=False))
        with (folder / "config.yaml").open() as stream:
            self.flags = ProfileConfigFileParser().parse(stream)
        self._default = dict(each.split("=", 1) for each in self.flags.pop("default-resources"))
        self._set = dict(each.split("=", 1) for each in self.flags.pop("set-resources"))
        self.rules = {key.split(":")[0] for key in self._set}

    def of(self, rule, resource, method="flow", attempt=1):
        """As Snakemake evaluates it."""
        expression = self._set.get(f"{rule}:{resource}", self._default.get(resource))
        names = {"wildcards": type("Wildcards", (), {"method": method}), "attempt": attempt}
        return None if expression is None else eval(expression, names)


@pytest.fixture
def asked(tmp_path):
    return lambda **site: Asked(tmp_path, **site)


def test_it_keeps_what_the_default_profile_says(asked):
    default = yaml.safe_load((REPOSITORY / "workflow/profiles/default/config.yaml").read_text())
    flags = asked().flags
    assert {key: flags[key] for key in default} == {key: str(value) for key, value in default.items()}


def test_it_speaks_of_rules_that_are_submitted(asked):
    blocks = rule_blocks()
    submitted = blocks.keys() - local_rules()
    with_gpu = {rule for rule in submitted if re.search(r"^ +gpu=", blocks[rule], re.M)}
    profile = asked(partition="here", gpu_partition="there")
    assert with_gpu < profile.rules <= submitted
    assert {rule for rule in submitted if profile.of(rule, "slurm_partition", "sam2") == "there"} == with_gpu


@pytest.mark.parametrize("longest", [15, 1440])
def test_no_step_asks_for_more_than_the_site_allows(asked, longest):
    profile = asked(longest=longest)
    for rule in [*profile.rules, "label_quality"]:
        minutes = [profile.of(rule, "runtime", attempt=attempt) for attempt in range(1, 12)]
        assert 0 < minutes[0] <= minutes[1] and max(minutes) == minutes[-1] <= longest
    assert profile.of("train", "runtime") == longest


def test_methods_that_run_a_network_go_to_a_gpu(asked):
    profile = asked(gpu_type="a100")
    needing = {key.split(".")[1] for key in PACKAGES}
    for method in METHODS:
        for rule in ("propagate", "refine", "signals"):
            assert profile.of(rule, "slurm_partition", method) == ("gpu" if method in needing else "cpu")
            assert profile.of(rule, "gpu_model", method) == ("a100" if method in needing else "")


def test_a_gpu_is_asked_for_in_one_way_only(asked):
    profile = asked()
    assert profile.of("train", "gpu") is profile.of("train", "gres") is profile.of("train", "gpu_model") is None
    profile = asked(ask_by="gres", gpu_type="a100")
    assert (profile.of("train", "gpu"), profile.of("train", "gres")) == (0, "gpu:a100:1")
    assert profile.of("propagate", "gres", "sam2") == "gpu:a100:1"
    assert profile.of("propagate", "gres", "flow") == "" and profile.of("train", "gpu_model") is None


def test_a_training_has_a_core_for_each_worker_beside_its_own(asked):
    assert int(asked().of("train", "cpus_per_task")) == 1 + TrainingSettings.workers


def test_an_account_is_named_where_there_is_one(asked):
    assert asked().of("train", "slurm_account") is None
    assert asked(account="vision-lab").of("train", "slurm_account") == "vision-lab"
