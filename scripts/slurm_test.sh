#!/usr/bin/env bash
# A sweep on Slurm, with everything killed that can be, and its results compared to the byte with those of a serial run.
#
#   scripts/slurm_test.sh
#
# Installs slurm-wlm and munge where they are missing, and starts munged, slurmctld and two slurmd on loopback in a folder of their own,
# without systemd; nothing is left behind. FOOLPROOF names the program (else target/release/foolproof). Needs root, or sudo without
# a password. Where there is none, or no package, it says so and ends with 0.
#
# First round: 6 workers; one is killed, the disk is full on one node, the controller is killed, time limits come near (USR1, exit code
# 75, back into the queue), and all is cancelled; the report job names what is missing. Second round: what is missing is submitted; a
# node goes with all that runs on it. Then two merges at once, and the report. Prints one line a figure.
set -euo pipefail
cd "$(dirname "$0")/.."
skip() { echo "skipped slurm_test: $*"; exit 0; }
if [ "$(id -u)" -ne 0 ]; then
  sudo -n true 2> /dev/null || skip "needs root"
  exec sudo -n FOOLPROOF="${FOOLPROOF:-}" FOOLPROOF_DATA="${FOOLPROOF_DATA:-}" "$0" "$@"
fi
foolproof=$(realpath "${FOOLPROOF:-target/release/foolproof}")
[ -x "$foolproof" ] || { echo "no program $foolproof (hint: cargo build --release)"; exit 1; }
there() { command -v slurmctld > /dev/null && command -v slurmd > /dev/null && command -v munged > /dev/null; }
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm munge > /dev/null 2>&1; }
there || install || { apt-get update > /dev/null 2>&1 && install; } || true
there || skip "slurm-wlm and munge are not installed, and cannot be"

# ---- the cluster
work=$(mktemp -d)
cluster=$work/cluster
disk=$work/disk
export SLURM_CONF=$cluster/slurm.conf
unset "${!SBATCH_@}"
began=$SECONDS
port=$((20000 + RANDOM % 20000))
mkdir -p "$cluster"/{state,spool-n1,spool-n2,log} "$disk"
chmod 755 "$work"

# workers of this test; with a node's name only those on it
workers() {
  local pid
  for pid in $(pgrep -f "worker --config $work" || true); do
    [ -z "${1:-}" ] || grep -qz "^SLURMD_NODENAME=$1\$" "/proc/$pid/environ" 2> /dev/null || continue
    echo "$pid"
  done
}
parent() { ps -o ppid= -p "$1" 2> /dev/null | tr -d ' ' || true; }
# kills a worker and all above it: its batch shell and Slurm's step; first those above, which would tell the controller
kill_step() {
  local shell step
  shell=$(parent "$1")
  step=$(parent "$shell")
  case $(cat "/proc/$step/comm" 2> /dev/null) in slurmstepd*) ;; *) step= ;; esac
  kill -KILL $step $shell "$1" 2> /dev/null || true
}
daemon() { cat "$cluster/$1.pid" 2> /dev/null || true; }
clean_up() {
  local code=$? pid
  if [ $code -ne 0 ]; then
    squeue 2> /dev/null || true
    tail -n 5 "$disk"/*/cluster/submit/log/*.txt "$cluster"/log/slurmctld 2> /dev/null || true
  fi
  timeout 5 scancel --me > /dev/null 2>&1 || true
  sleep 1
  for pid in $(workers); do kill_step "$pid"; done
  for pid in $(daemon slurmctld) $(daemon slurmd-n1) $(daemon slurmd-n2) $(daemon munged); do
    kill -TERM "$pid" 2> /dev/null || true
  done
  sleep 2
  for pid in $(daemon slurmctld) $(daemon slurmd-n1) $(daemon slurmd-n2); do kill -KILL "$pid" 2> /dev/null || true; done
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

cat > "$SLURM_CONF" << CONF
ClusterName=loopback
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# a job that goes back into the queue waits as long as a credential lives, else two minutes
AuthInfo=socket=$cluster/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool-%n
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmdPidFile=$cluster/slurmd-%n.pid
SlurmctldLogFile=$cluster/log/slurmctld
SlurmdLogFile=$cluster/log/slurmd-%n
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
SlurmdTimeout=6
ReturnToService=2
KillWait=5
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=3 RealMemory=1000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=3 RealMemory=1000
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
# known since 23.02, and needed where nothing mounts control groups for us
if [ "$(slurmctld -V | sed 's/[^0-9]*\([0-9]*\).*/\1/')" -ge 23 ]; then echo CgroupPlugin=disabled > "$cluster/cgroup.conf"; fi
head -c 1024 /dev/urandom > "$cluster/munge.key"
chmod 600 "$cluster/munge.key"
munged --force --key-file="$cluster/munge.key" --socket="$cluster/munge.socket" --pid-file="$cluster/munged.pid" \
  --log-file="$cluster/log/munged" --seed-file="$cluster/munge.seed"

# Node n2 has a view of its own of the disks, in which the one that all share can be full: a full one is laid over it.
own_view=(unshare --mount)
"${own_view[@]}" true 2> /dev/null || own_view=()
start_node() { if [ "$1" = n2 ]; then "${own_view[@]}" slurmd -N n2; else slurmd -N "$1"; fi; }
fill_disk() {
  local full=$work/full
  mkdir -p "$full"
  nsenter --mount --target "$(daemon slurmd-n2)" bash -c '
    mount -t tmpfs -o size=64k tmpfs "$1" && mkdir "$1/new" "$1/work" \
      && mount -t overlay -o lowerdir="$2",upperdir="$1/new",workdir="$1/work" overlay "$2" && cat /dev/zero > "$1/filler"
    mountpoint -q "$2"' bash "$full" "$disk" 2> /dev/null
}
free_disk() { nsenter --mount --target "$(daemon slurmd-n2)" umount -l "$disk" "$work/full"; }
slurmctld -c
start_node n1
start_node n2
# waits until a command succeeds, or so many seconds
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.2
  done
}
is_idle() { [ "$(sinfo -h -N -o %t 2> /dev/null | grep -c '^idle$')" = 2 ]; }
until_true 20 is_idle || { tail -n 20 "$cluster"/log/*; echo "the cluster did not start"; exit 1; }
echo "cluster: $(slurmctld -V), two nodes, up after $((SECONDS - began)) s"

# ---- the sweep, serially
cat > "$work/it's a sweep.toml" << 'TOML'
name = "cluster"
[[sweep]]
models  = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted", "target:next"]
threats = [{ norm = "linf", eps = ["1/255", "2/255", "3/255", "4/255", "5/255", "6/255", "7/255", "8/255", "10/255", "12/255", "14/255", "16/255"] }]
attacks = [{ name = "fgsm" }, { name = "pgd", steps = 100 }, { name = "pgd", steps = 100, restarts = 2, random_start = true }]
TOML
cells=144
from=$SECONDS
"$foolproof" --config "$work/it's a sweep.toml" --quiet --threads 2 --out "$work/serial" > /dev/null
echo "serial run: $cells cells in $((SECONDS - from)) s"

# ---- round one
out="$disk/it's 100% \"here\""
run=$out/cluster
mkdir -p "$out"
submit() { (cd "$work" && "$foolproof" submit slurm --config "it's a sweep.toml" --out "$out" --shards 6 --cpus 1 "$@"); }
# USR1 comes within half a minute of a task's start
soon=(--time 3 -- --signal=B:USR1@150)
# chunks that workers have stored
progress() { { cat "$run"/work/log/*.csv 2> /dev/null || true; } | grep -c 'done"\?$' || true; }
has_progressed() { [ "$(progress)" -gt "$1" ]; }
wait_for_work() {
  local there
  there=$(progress)
  until_true 180 has_progressed $((there + $1 - 1)) || { echo "no more than $there units were computed in three minutes"; return 1; }
}
has_workers() { [ "$(workers "${1:-}" | wc -l)" -ge "${2:-1}" ]; }
jobs_of() { squeue -h -o %F 2> /dev/null | sort -u; }
has_left() { ! jobs_of | grep -qx "$1"; }
struck=0

from=$SECONDS
submit "${soon[@]}" > "$work/jobs"
array=$(sed -n 's/ workers//p' "$work/jobs") report=$(sed -n 's/ report//p' "$work/jobs")
if submit > "$work/twice" 2>&1; then echo "a second submission of queued work was not refused"; exit 1; fi
until_true 30 has_workers "" 6 || { squeue; echo "six workers did not start"; exit 1; }
wait_for_work 3

read -r victim <<< "$(workers n1)"
kill -KILL "$victim"
struck=$((struck + 1))
echo "a worker was killed at $((SECONDS - from)) s"
wait_for_work 2

before=$(workers n2 | wc -l)
if [ ${#own_view[@]} -gt 0 ] && fill_disk; then
  has_fewer() { [ "$(workers n2 | wc -l)" -le "$1" ]; }
  until_true 60 has_fewer $((before - 1)) || true
  until_true 5 has_fewer 0 || true
  free_disk
  ended=$((before - $(workers n2 | wc -l)))
  # nobody else saw what those that went on wrote meanwhile
  struck=$((struck + before))
  echo "the disk was full on node n2 at $((SECONDS - from)) s: $ended of $before workers ended; on n1 $(workers n1 | wc -l) went on"
else
  echo "a full disk on one node: skipped, nothing can be mounted here"
fi
wait_for_work 2

kill -KILL "$(daemon slurmctld)"
wait_for_work 1 && echo "the controller was killed at $((SECONDS - from)) s, and workers went on"
sleep 1
slurmctld

has_come_back() { grep -qs "start [1-9]" "$run"/submit/log/"${array}"_*.txt; }
until_true 90 eval 'has_come_back || has_left '"$array"
echo "back in the queue after USR1 at $((SECONDS - from)) s: $(grep -l "start [1-9]" "$run"/submit/log/"${array}"_*.txt | wc -l) tasks"

until_true 30 has_workers || true
struck=$((struck + $(workers | wc -l)))
scancel "$array"
until_true 60 has_left "$report" || { squeue; echo "the report job did not end"; exit 1; }
echo "cancelled at $((SECONDS - from)) s"
code=0
"$foolproof" merge "$run" > "$work/merge" 2>&1 || code=$?
[ $code -eq 4 ] || { cat "$work/merge"; echo "merge of an unfinished run ended with $code, not 4"; exit 1; }
echo "merge names what is missing: exit code 4, $(wc -l < "$work/merge") lines"

# ---- round two
from=$SECONDS
submit > "$work/jobs"
array=$(sed -n 's/ workers//p' "$work/jobs") report=$(sed -n 's/ report//p' "$work/jobs")
scontrol hold "$report"
until_true 30 has_workers n2 || { squeue; echo "no worker started on node n2"; exit 1; }
wait_for_work 2
victims=$(workers n2)
kill -KILL "$(daemon slurmd-n2)"
for victim in $victims; do kill_step "$victim"; struck=$((struck + 1)); done
echo "node n2 was killed at $((SECONDS - from)) s, with $(wc -w <<< "$victims") workers"
is_down() { sinfo -h -n n2 -o %t | grep -q down; }
until_true 40 is_down || true
start_node n2
until_true 600 has_left "$array" || { squeue; echo "the workers did not end"; exit 1; }
codes=$(grep "_job_complete: JobId=${array}_" "$cluster/log/slurmctld" | grep -o 'WEXITSTATUS [0-9]*\|WTERMSIG [0-9]*' | sort | uniq -c | tr -s ' \n' ' ' || true)
echo "workers ended at $((SECONDS - from)) s:$codes"

# a whole run keeps no trace of who computed it
cp -r "$run/work/log" "$work/log"
merges=()
for _ in 1 2; do
  "$foolproof" merge "$run" > /dev/null 2> "$work/merge" &
  merges+=($!)
done
for merge in "${merges[@]}"; do wait "$merge" || { cat "$work/merge"; echo "one of two merges at once failed"; exit 1; }; done
scontrol release "$report"
until_true 60 has_left "$report" || { squeue; echo "the report job did not end"; exit 1; }
submit > "$work/nothing" 2>&1 && [ ! -s "$work/nothing" ] || grep -q "nothing is missing" "$work/nothing" || { cat "$work/nothing"; exit 1; }
echo "two merges at once, the report, and a third submission that finds nothing missing, at $((SECONDS - from)) s"

# ---- what is there
# digests of what a run is: everything but times, locks, and what the cluster printed
digests() {
  (cd "$1" && find . -type f ! -name provenance.json ! -name lock ! -path './submit/*' ! -path './work/*' | LC_ALL=C sort | xargs -d '\n' sha256sum)
}
digests "$work/serial/cluster" > "$work/expected"
digests "$run" > "$work/found"
different=$(diff "$work/expected" "$work/found" | grep -c '^[<>]' || true)
diff "$work/expected" "$work/found" | head -5 || true
rows=$(tail -n +2 "$run/tables/summary.csv" | cut -d, -f1)
lost=$((cells - $(sort -u <<< "$rows" | wc -l)))
doubled=$(sort <<< "$rows" | uniq -d | wc -l)
left=$(find "$run" -name '.tmp*' | wc -l)
# a line where a worker begins a chunk, and one where it has stored it
log() { cat "$work"/log/*.csv | grep "\"\?$1\"\?\$" | cut -d, -f1-3; }
units=$(log done | sort -u | wc -l)
begun=$(log begun | wc -l)
twice=$(log done | sort | uniq -d | wc -l)
# a full disk is tried three times
refused=$(cat "$work"/log/*.csv | grep -c "No space left" || true)
vain=$((begun - units - refused))
# who began what was stored by another, or twice
show_vain() { log begun | sort | uniq -d | (cd "$work/log" && grep -F -f - ./*.csv) || true; }
echo "$units units by $(ls "$work/log" | wc -l) workers: $lost cells lost, $doubled doubled, $different files differ, $left temporary files left"
echo "$struck workers were killed, cancelled or without disk: $vain chunks begun in vain, $twice stored twice; $refused tries on the full disk"
echo "all of it took $((SECONDS - began)) s"
((vain <= struck)) || show_vain
((lost == 0 && doubled == 0 && different == 0 && left == 0 && units >= 60 && vain <= struck))
