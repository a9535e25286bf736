# shellcheck shell=bash
# A Slurm cluster on this machine, for the tests: one slurmctld and a slurmd a node, each with a host name of its own
# (a UTS namespace), 4 GPUs that are names of /dev/null and 8 CPUs that need not exist. Sourced beside
# tests/cli/common.sh, whose scratch folder holds all of it and which ends it; authentication is off, so nothing outside
# is touched. Needs root.
#
# cluster_start NODES: 1 if it does not come up.

cluster_has_slurm() {
    local program
    for program in slurmctld slurmd srun sbatch scontrol sinfo unshare; do
        command -v "$program" >/dev/null || return 1
    done
}

# A port that nobody listens on, from this one on.
free_port() {
    local port=$1
    while (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
    echo "$port"
}

cluster_config() {
    local nodes=$1 port i
    port=$(free_port 26817)
    cat <<EOF
ClusterName=dptrain
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmdPidFile=$cluster/%n.pid
SlurmdSpoolDir=$cluster/spool/%n
TmpFS=$cluster/tmp/%n
StateSaveLocation=$cluster/state
SlurmctldLogFile=$cluster/slurmctld.log
SlurmdLogFile=$cluster/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
GresTypes=gpu
EOF
    for ((i = 1; i <= nodes; i++)); do
        port=$(free_port $((port + 1)))
        echo "NodeName=n$i NodeHostname=n$i NodeAddr=127.0.0.1 Port=$port CPUs=8 RealMemory=1000 Gres=gpu:4 State=UNKNOWN"
    done
    echo "PartitionName=test Nodes=n[1-$nodes] Default=YES MaxTime=INFINITE State=UP"
}

cluster_is_up() { [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = "$1" ]; }

cluster_start() {
    local nodes=$1 i
    cluster=${scratch:?}/cluster
    mkdir -p "$cluster/state" "$cluster/dev"
    for ((i = 0; i < 4; i++)); do ln -s /dev/null "$cluster/dev/nvidia$i"; done # Slurm takes device files only
    cluster_config "$nodes" >"$cluster/slurm.conf"
    echo "NodeName=n[1-$nodes] Name=gpu File=$cluster/dev/nvidia[0-3]" >"$cluster/gres.conf"
    echo 'CgroupPlugin=cgroup/v1' >"$cluster/cgroup.conf"
    export SLURM_CONF=$cluster/slurm.conf
    slurmctld -c -D -f "$SLURM_CONF" >"$cluster/slurmctld.out" 2>&1 &
    for ((i = 1; i <= nodes; i++)); do
        mkdir -p "$cluster/spool/n$i" "$cluster/tmp/n$i"
        # shellcheck disable=SC2016 # the inner shell's words
        unshare --uts bash -c 'hostname "$1" && exec slurmd -D -N "$1" -f "$2"' node "n$i" "$SLURM_CONF" \
            >"$cluster/n$i.out" 2>&1 &
    done
    wait_for cluster_is_up "$nodes" && return 0
    sinfo -N -l || true
    tail -n 5 "$cluster"/*.log "$cluster"/*.out
    return 1
}
