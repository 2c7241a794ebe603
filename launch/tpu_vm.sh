#!/usr/bin/env bash
# A TPU slice from nothing to a run and back: create, set up, run on all workers, delete.
#
#   launch/tpu_vm.sh --name=matte --zone=us-central2-b --type=v4-32 all -- \
#       --config=configs/gfm.py:track=rssn --config.data.root=/mnt/bucket/data
#
# Verbs: create, setup, run, delete, or all (the four in this order; what runs is deleted even when
# it fails). --dry_run prints the commands and runs none.
#
# A run on several hosts keeps its checkpoints where every host can write them: --bucket=NAME mounts
# a Cloud Storage bucket at /mnt/bucket, and the working directory lies there.
set -euo pipefail

name=jaxmatte zone="" type="" version="tpu-ubuntu2204-base" project="" bucket="" spot=false dry_run=false
verb="" arguments=()

fail() {
  echo "launch/tpu_vm.sh: $1" >&2
  exit 2
}

while [[ $# -gt 0 ]]; do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --bucket=*) bucket=${1#*=} ;;
    --spot) spot=true ;;
    --dry_run | --dry-run) dry_run=true ;;
    create | setup | run | delete | all) verb=$1 ;;
    --)
      shift
      arguments=("$@")
      break
      ;;
    *) fail "unknown argument '$1'; the head of this file says which there are" ;;
  esac
  shift
done

[[ -n $verb ]] || fail "name a verb: create, setup, run, delete or all"
[[ -n $zone ]] || fail "give --zone=ZONE, such as us-central2-b"
[[ -n $type || $verb == setup || $verb == run || $verb == delete ]] || fail "give --type=TYPE, such as v4-32"
[[ $verb != run && $verb != all || ${#arguments[@]} -gt 0 ]] || fail "say what to run behind --: --config=FILE ..."

place=(--zone="$zone")
[[ -n $project ]] && place+=(--project="$project")

# Prints a command, and runs it unless this is a dry run.
step() {
  printf '+'
  printf ' %q' "$@"
  printf '\n'
  if [[ $dry_run == false ]]; then "$@"; fi
}

on_all() {
  step gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" --worker=all --command="$1"
}

create() {
  local options=(--accelerator-type="$type" --version="$version")
  [[ $spot == true ]] && options+=(--spot)
  step gcloud compute tpus tpu-vm create "$name" "${place[@]}" "${options[@]}"
}

setup() {
  local root archive
  root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
  archive=${TMPDIR:-/tmp}/jaxmatte-$$.tar.gz
  step git -C "$root" archive --format=tar.gz --output="$archive" HEAD
  step gcloud compute tpus tpu-vm scp "$archive" "$name:jaxmatte.tar.gz" "${place[@]}" --worker=all
  on_all 'mkdir -p jaxmatte && tar -xzf jaxmatte.tar.gz -C jaxmatte'
  on_all 'sudo apt-get update -q && sudo apt-get install -y -q python3.11-venv'
  on_all 'cd jaxmatte && python3.11 -m venv .venv && .venv/bin/pip install -q -r requirements.txt "jax[tpu]"'
  if [[ -n $bucket ]]; then
    on_all 'command -v gcsfuse || { echo "install gcsfuse on the image: Cloud Storage FUSE mounts the bucket" >&2; exit 1; }'
    on_all "sudo mkdir -p /mnt/bucket && sudo chmod 777 /mnt/bucket && gcsfuse --implicit-dirs $bucket /mnt/bucket"
  fi
}

run() {
  local line="cd jaxmatte && JAXMATTE_DISTRIBUTED=1 .venv/bin/python -m jaxmatte.main"
  [[ -n $bucket && ${arguments[*]} != *--workdir* ]] && arguments+=("--workdir=/mnt/bucket/runs/$name")
  on_all "$line$(printf ' %q' "${arguments[@]}")"
}

delete() {
  step gcloud compute tpus tpu-vm delete "$name" "${place[@]}" --quiet
}

if [[ $verb == all ]]; then
  create
  trap delete EXIT
  setup
  run
else
  "$verb"
fi
