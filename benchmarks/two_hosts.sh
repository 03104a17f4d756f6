#!/bin/bash
# Trains on two "hosts": network namespaces joined by a cable, each with its own torchrun.
# What fails here (names, interfaces, ports) fails on real machines. Needs root and `ip`; two minutes.
# Run: sudo benchmarks/two_hosts.sh [FOLDER]     the run is in FOLDER/runs, output in FOLDER/host*.log
set -euo pipefail
folder=$(realpath -m "${1:-/tmp/samft_two_hosts}")
python=${PYTHON:-python}
mkdir -p "$folder"
cleanup() {
  ip netns del samft_a 2>/dev/null || true
  ip netns del samft_b 2>/dev/null || true
}
trap cleanup EXIT
cleanup

ip netns add samft_a
ip netns add samft_b
ip link add veth_a netns samft_a type veth peer name veth_b netns samft_b
for host in a b; do
  [ $host = a ] && address=10.77.0.1 || address=10.77.0.2
  ip -n samft_$host addr add $address/24 dev veth_$host
  ip -n samft_$host link set veth_$host up
  ip -n samft_$host link set lo up
done

host() {  # host NAME NODE_RANK: one torchrun with one process
  ip netns exec "samft_$1" env GLOO_SOCKET_IFNAME="veth_$1" TP_SOCKET_IFNAME="veth_$1" \
    OMP_NUM_THREADS=1 timeout 300 "$python" -m torch.distributed.run \
    --nnodes 2 --node-rank "$2" --nproc-per-node 1 \
    --rdzv-backend c10d --rdzv-endpoint 10.77.0.1:29400 --rdzv-id samft \
    --rdzv-conf "is_host=$([ "$2" = 0 ] && echo 1 || echo 0)" --local-addr "10.77.0.$(($2 + 1))" \
    -m samft fit --model samft.SamModule --model.arch vit_nano --model.image_size 64 \
    --model.adapt late_lora --model.prompts.rounds 0 --data samft.SyntheticDataModule \
    --data.size 64 --data.num_train 8 --data.num_val 4 --data.batch_size 2 --runs "$folder/runs" \
    --trainer.accelerator cpu --trainer.num_nodes 2 --trainer.devices 1 \
    --trainer.strategy "${STRATEGY:-ddp}" --trainer.max_epochs 1 \
    --trainer.enable_progress_bar false >"$folder/host_$1.log" 2>&1
}

host b 1 &
second=$!
status=0
host a 0 || status=$?
wait $second || status=$?
if [ $status -ne 0 ]; then
  tail -n 20 "$folder"/host_?.log
  exit $status
fi
grep -h MEMBER "$folder"/host_?.log
find "$folder/runs" -name "*.ckpt"
