#!/usr/bin/env bash
# Runs one command in N processes on this machine's CPU, joined over loopback, as a pod runs it once
# a host. What follows N is either a command or arguments of jaxmatte.main:
#
#   launch/local_pod.sh 2 --config=configs/gfm.py --workdir=runs/pod
#   launch/local_pod.sh 4 python -m pytest tests/mine.py
#
# SIGTERM or Ctrl-C goes to every process, and they save and leave together. When one process fails
# the others are ended, since they would wait for it. DEVICES=M gives each process M devices.
set -euo pipefail

usage() {
  echo "usage: launch/local_pod.sh N [COMMAND... | --config=FILE ...]" >&2
  exit 2
}

[[ $# -ge 2 && $1 =~ ^[1-9][0-9]*$ ]] || usage
count=$1
shift
python=${PYTHON:-python}
if [[ $1 == -* ]]; then
  set -- "$python" -m jaxmatte.main "$@"
fi

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export JAXMATTE_COORDINATOR="127.0.0.1:$port"
export JAXMATTE_PROCESSES=$count
export JAX_PLATFORMS=cpu
export JAX_CPU_COLLECTIVES_IMPLEMENTATION=gloo
# XLA's pool of threads must exceed the devices, or collectives on few cores wait for ever.
export NPROC=${NPROC:-32}
export XLA_FLAGS="--xla_force_host_platform_device_count=${DEVICES:-1} ${XLA_FLAGS:-}"

children=()
# shellcheck disable=SC2317,SC2329  # the trap calls it
forward() {
  for child in "${children[@]}"; do kill -TERM "$child" 2>/dev/null || true; done
}
trap forward TERM INT

for ((process = 0; process < count; process++)); do
  JAXMATTE_PROCESS=$process "$@" &
  children+=($!)
done

status=0
for ((left = count; left > 0; left--)); do
  code=0
  # A trapped signal ends `wait` early with a code above 128: then the child still runs.
  while true; do
    code=0
    wait -n -p ended "${children[@]}" || code=$?
    [[ -n ${ended:-} ]] && break
    [[ $code -eq 127 ]] && break 2
  done
  remaining=()
  for child in "${children[@]}"; do [[ $child != "$ended" ]] && remaining+=("$child"); done
  children=("${remaining[@]}")
  if [[ $code -ne 0 && $status -eq 0 ]]; then
    status=$code
    echo "launch/local_pod.sh: a process ended with code $code; ending the others" >&2
    for child in "${children[@]}"; do kill -KILL "$child" 2>/dev/null || true; done
  fi
done
exit "$status"
