#!/usr/bin/env bash
# Create node pools of TPU v4-32 slices in a GKE cluster: one pool is one slice, 4 hosts of 4 chips.
set -euo pipefail

readonly MACHINE_TYPE=ct4p-hightpu-4t
readonly TOPOLOGY=2x2x4
readonly HOSTS=4

usage() {
  cat <<EOF
usage: ${0##*/} --project ID --cluster NAME --location REGION_OR_ZONE --zone ZONE [options]

  --project ID          Google Cloud project
  --cluster NAME        GKE cluster, with Workload Identity
  --location LOCATION   region or zone of the cluster
  --zone ZONE           zone of the nodes; TPU v4 is in us-central2-b
  --slices N            how many pools; default 1
  --prefix NAME         pools are NAME-0, NAME-1, ...; default v4-32
  --service-account SA  Google service account of the nodes; default: the project's
  --spot                Spot VMs: cheaper, and may be taken away at any time
  --reservation NAME    use this reservation; projects/P/reservations/R for one of another project
  --autoscale           start with no nodes, let the cluster's autoscaler make and remove slices
  --dry-run             print the commands, run nothing
EOF
}

die() {
  echo "error: $*" >&2
  exit 2
}

project='' cluster='' location='' zone='' slices=1 prefix=v4-32 account='' reservation=''
spot=false autoscale=false run=()

while (($#)); do
  case $1 in
    --spot) spot=true ;;
    --autoscale) autoscale=true ;;
    --dry-run) run=(printf '%q ') ;;
    -h | --help)
      usage
      exit
      ;;
    --project | --cluster | --location | --zone | --slices | --prefix | --service-account | --reservation)
      (($# >= 2)) || die "$1 needs a value"
      case $1 in
        --project) project=$2 ;;
        --cluster) cluster=$2 ;;
        --location) location=$2 ;;
        --zone) zone=$2 ;;
        --slices) slices=$2 ;;
        --prefix) prefix=$2 ;;
        --service-account) account=$2 ;;
        --reservation) reservation=$2 ;;
      esac
      shift
      ;;
    *) die "unknown option $1; --help lists them" ;;
  esac
  shift
done

[[ -n $project && -n $cluster && -n $location && -n $zone ]] ||
  die "--project, --cluster, --location and --zone are needed; --help explains them"
[[ $slices =~ ^[1-9][0-9]*$ ]] || die "--slices: $slices is not a positive number"
[[ $spot == false || -z $reservation ]] || die "--spot and --reservation exclude each other"

# GKE_METADATA is Workload Identity: without it pods would act as the nodes' account.
flags=(
  "--project=$project" "--cluster=$cluster" "--location=$location" "--node-locations=$zone"
  "--machine-type=$MACHINE_TYPE" "--tpu-topology=$TOPOLOGY"
  --workload-metadata=GKE_METADATA
  --scopes=https://www.googleapis.com/auth/cloud-platform
)
if [[ $autoscale == true ]]; then
  # A slice is whole or absent: the autoscaler goes from none to all hosts and back.
  flags+=(--num-nodes=0 --enable-autoscaling --min-nodes=0 "--max-nodes=$HOSTS")
else
  flags+=("--num-nodes=$HOSTS")
fi
[[ -z $account ]] || flags+=("--service-account=$account")
[[ $spot == false ]] || flags+=(--spot)
[[ -z $reservation ]] || flags+=(--reservation-affinity=specific "--reservation=$reservation")

for ((i = 0; i < slices; i++)); do
  "${run[@]}" gcloud container node-pools create "$prefix-$i" "${flags[@]}"
  ((${#run[@]} == 0)) || echo
done
