"""The table of training types says what SageMaker's API and the encryption of volumes say."""

from botocore.session import Session

from stacks.instance_types import has_gpu, has_local_disk
from stacks.training_types import IN_TRAINING_PLANS, MACHINES, takes_processing

LEFT_OUT = ("ml.p2.", "ml.p3.", "ml.p3dn.", "ml.trn", "ml.p6e-gb200.", "ml.m8i", "ml.c8i", "ml.r8i")
LEFT_OUT_WORD = "-flex."


def enum(name: str) -> set[str]:
    return set(Session().get_service_model("sagemaker").shape_for(name).enum)


def test_every_type_is_one_that_sagemaker_trains_on_and_none_is_forgotten() -> None:
    known = {
        each for each in enum("TrainingInstanceType") if not each.startswith(LEFT_OUT) and LEFT_OUT_WORD not in each
    }
    assert set(MACHINES) == known


def test_processing_jobs_run_on_those_that_the_table_says() -> None:
    assert {each for each in MACHINES if takes_processing(each)} == enum("ProcessingInstanceType") & set(MACHINES)


def test_training_plans_are_of_the_types_that_sagemaker_reserves() -> None:
    assert enum("ReservedCapacityInstanceType") & set(MACHINES) == IN_TRAINING_PLANS


def test_both_tables_agree_on_gpus_and_disks() -> None:
    assert {each: has_gpu(each) for each in MACHINES} == {each: made.gpus > 0 for each, made in MACHINES.items()}
    disks = {each: made.local_disk_gb is not None for each, made in MACHINES.items()}
    assert {each: has_local_disk(each) for each in MACHINES} == disks


def test_the_largest_of_each_gpu_family_has_the_fast_network() -> None:
    largest: dict[str, str] = {}
    for name, made in MACHINES.items():
        family = name.split(".")[1]
        if made.gpus and made.gpus >= MACHINES[largest.get(family, name)].gpus:
            largest[family] = name
    assert [name for name in largest.values() if not MACHINES[name].efa] == []
