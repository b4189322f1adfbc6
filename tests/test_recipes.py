"""The recipes for clusters, as far as they can be checked without a cloud: by the launcher, bash, their own names."""

import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

RECIPES = Path(__file__).parents[1] / "jobs" / "cluster"


def test_rays_launcher_accepts_the_cluster_and_would_not_accept_any():
    cluster = yaml.safe_load((RECIPES / "ray-cluster.yaml").read_text())
    validate_config(prepare_config(cluster))
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        validate_config({**prepare_config(cluster), "max_worker": 3})


def test_the_parts_of_the_kubernetes_job_name_each_other():
    job = yaml.safe_load((RECIPES / "kuberay-job.yaml").read_text())
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert "requests" not in container["resources"]  # as much as the limits
    assert groups[0]["rayStartParams"] == {"num-cpus": "0"}


def test_bash_reads_the_slurm_script():
    subprocess.run(["bash", "-n", RECIPES / "slurm.sh"], check=True)
