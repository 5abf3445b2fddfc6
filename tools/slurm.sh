#!/bin/bash
# A Slurm of one node on this machine, to try the engine `Slurm` with: for root, without cgroups, over loopback alone.
#
#     eval "$(bash tools/slurm.sh /tmp/slurm)"    # sets it up, waits until it answers, names its configuration
#     pytest tests/test_slurm.py
#     bash tools/slurm.sh stop /tmp/slurm         # ends it
#
# Its partitions: `main`; `spare`, whose jobs `urgent` pre-empts, and which are put back into the queue then.
set -euo pipefail
PATH=$PATH:/usr/sbin

fail() { echo "$*" >&2; exit 2; }

end() { # the process whose number is in a file, and wait until it has taken the file away
    local pid
    pid=$(cat "$1" 2>/dev/null) && kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 100); do [ -e "$1" ] && kill -0 "$pid" 2>/dev/null || return 0; sleep .1; done
    kill -9 "$pid" 2>/dev/null || true
}

if [ "${1:-}" = stop ]; then
    [ -f "${2:-}/slurm.conf" ] || fail "there is no Slurm in ${2:-}; expected the folder that it was set up in"
    SLURM_CONF=$2/slurm.conf scancel --user=root --signal=KILL --full 2>/dev/null || true
    for o in slurmd slurmctld munged; do end "$2/$o.pid"; done
    exit
fi

[ $# = 1 ] || fail "usage: $0 FOLDER, or $0 stop FOLDER"
for o in munged slurmctld slurmd sinfo; do
    command -v $o >/dev/null || fail "there is no $o here; apt-get install slurm-wlm munge"
done
[ "$(id -u)" = 0 ] || fail "only root can set it up: its daemons start jobs as the user who asks"

mkdir -p "$1"
home=$(cd "$1" && pwd)
[ ! -f "$home/slurm.conf" ] || fail "$home holds a Slurm already; bash $0 stop $home, and name an empty folder"
mkdir "$home/state" "$home/spool"
chmod 755 "$home"

head -c 1024 /dev/urandom > "$home/munge.key"
chmod 400 "$home/munge.key"
munged --key-file="$home/munge.key" --socket="$home/munge.socket" --pid-file="$home/munged.pid" \
       --log-file="$home/munged.log" --seed-file="$home/munge.seed" --force >&2

cat > "$home/slurm.conf" <<END
ClusterName=scratch
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$home/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.pid
SlurmctldLogFile=$home/slurmctld.log
SlurmdLogFile=$home/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2,requeue_setup_env_fail
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
ReturnToService=2
MpiDefault=none
SlurmdParameters=config_overrides
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PreemptMode=OFF
PartitionName=spare Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=3
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
END

export SLURM_CONF=$home/slurm.conf
slurmctld >&2
slurmd >&2
for _ in $(seq 300); do
    if [ "$(sinfo --noheader --format=%T --partition=main 2>/dev/null)" = idle ]; then
        echo "export SLURM_CONF=$SLURM_CONF"
        exit
    fi
    sleep .1
done
fail "Slurm does not answer after 30 seconds; $home/slurmctld.log and slurmd.log say more"
