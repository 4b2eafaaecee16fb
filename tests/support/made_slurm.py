"""Commands of SLURM that run an array's jobs on this machine, all at once."""

from pathlib import Path

SBATCH = """#!/bin/bash
cp "$1" "$(dirname "$0")/batch"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
export SLURM_JOB_ID=7 SLURM_ARRAY_JOB_ID=7 SLURM_JOB_NAME=mlu SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1
export SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0
for task in $(seq 0 "$last"); do
    SLURM_ARRAY_TASK_ID=$task bash "$1" >/dev/null 2>&1 &
done
echo "Submitted batch job 7"
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do
    if [[ $1 == --output ]]; then
        said=$(sed "s/%A/7/g; s/%a/$SLURM_ARRAY_TASK_ID/g; s/%t/0/g" <<<"$2")
    fi
    if [[ $1 != --unbuffered ]]; then shift; fi
    shift
done
exec "$@" >"$said" 2>&1
"""
SACCT = "#!/bin/bash\necho 'JobID|State|NodeList'\n"


def write_slurm(folder: Path) -> None:
    """Afterwards `batch` there is what sbatch was given."""
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
