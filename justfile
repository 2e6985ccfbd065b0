# An index of scripts/; each says more with --help. No logic here.

# List what there is
default:
    @just --list --unsorted

# The whole gate: format, lints, tests, documentation, generated files
check:
    scripts/check

# What CI runs, from nothing
ci:
    .ci/run

# The real model that tests use; --gemma for a second architecture
fetch-test-model *flags:
    scripts/fetch-test-model {{flags}}

# llama.cpp, the peer that tests take as an oracle
llama-cpp *flags:
    scripts/peer/llama-cpp {{flags}}

# NVRTC, with which kernels compile without a GPU
fetch-nvrtc:
    scripts/fetch-nvrtc

# What goes to a bare GPU box, in parts of at most 60 MiB
gpu-pack *flags:
    scripts/gpu/pack {{flags}}

# On the GPU box: everything that can be checked there, one step after the other
gpu-selfcheck *arguments:
    scripts/gpu/selfcheck {{arguments}}

# Measure the real model with the release build and check the record
real-model:
    scripts/real-model

# The hub: download, kill, resume; BENCH and MODEL.gguf
test-hub bench model:
    scripts/test-hub {{bench}} {{model}}

# A quantized Llama GGUF as the folder of safetensors it could have come from
dequantize-to-safetensors *arguments:
    scripts/dequantize-to-safetensors {{arguments}}

# Stock candle for NVIDIA GPUs, built with or without one
build-candle-cuda *flags:
    scripts/build-candle-cuda {{flags}}

# Does the harness add anything to a bare loop over candle? MODEL.gguf
harness-overhead model:
    scripts/harness-overhead {{model}}

# The table of traces and faults in docs/power.md
power-table:
    scripts/power-table

# The table of failing NVML functions in docs/power.md
nvml-sweep:
    scripts/nvml-sweep

# The nightly job: build both commits, gate, history page; see --help
nightly *arguments:
    scripts/nightly/run {{arguments}}

# Change points beside Apache Otava's
otava *arguments:
    scripts/peer/otava {{arguments}}

# How long a history of 100,000 records takes
history-scale *arguments:
    scripts/history-scale {{arguments}}

# Seconds and memory of importing files of 1 GiB with every request in them
import-scale *arguments:
    scripts/import-scale {{arguments}}

# Micro-benchmarks into a store; see --help
micro *arguments:
    scripts/micro {{arguments}}

# The gate on our own engine, against itself and with planted slowdowns; see --help
gate-self *arguments:
    scripts/gate-self {{arguments}}

# The gate when things go wrong: kills, a full disk, a reboot
gate-faults *arguments:
    scripts/gate-faults {{arguments}}

# The store in an S3 server on this machine
s3 *arguments:
    scripts/peer/s3 {{arguments}}

# The tables of simulated gates in docs/regression.md
regress-table:
    scripts/regress-table

# What the sensors cost beside a run
telemetry-overhead *arguments:
    scripts/telemetry-overhead {{arguments}}

# Costs computed once more with numpy and scipy; the release build must be there
check-cost:
    scripts/check-cost --bench target/release/bench

# The price curve computed once more with numpy and scipy; the release build must be there
check-forecast:
    scripts/check-forecast --bench target/release/bench

# Perplexity beside llama-perplexity's; see --help
check-perplexity *arguments:
    scripts/check-perplexity {{arguments}}

# Our speed beside llama.cpp's, in turn; see --help
compare *arguments:
    scripts/peer/compare {{arguments}}

# Bytes of a fuzzer through the importers (import) or the price files (prices)
fuzz target *seconds:
    scripts/fuzz {{target}} {{seconds}}

# How soon the program says something
start-up:
    scripts/start-up
