"""Search on a Ray cluster from a plain script, and tag a sentence with the best model.

ray start --head                                            # on one machine; `ray start --address=...` on the others
python examples/search_on_cluster.py jobs/quickstart.yaml auto
"""

import sys

import munchray as mr


def main(job_file: str, address: str | None) -> None:
    """Run six trials of a job on a cluster."""
    job = mr.load_job(job_file, trials=6)
    result = mr.search(job, address=address)
    print(result.ranking.to_string(index=False))
    for span in result.best_model().spans("Two patients with hereditary carcinoma developed severe hepatitis."):
        print(span)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
