# An index of scripts/; each says more with --help. No logic here.

# List the recipes
default:
    @just --list --unsorted

# The whole gate: format, lints, tests, documentation, dependencies, fuzz targets
check:
    scripts/check

# After an edit: format, lints, and the unit tests of the packages that changed, without the slow ones
quick *arguments:
    scripts/quick {{arguments}}

# What CI runs, from nothing
ci:
    .ci/run

# Download the real model that tests use; --gemma adds a second architecture
fetch-test-model *flags:
    scripts/fetch-test-model {{flags}}

# Build llama.cpp, the oracle of the tests
llama-cpp *flags:
    scripts/peer/llama-cpp {{flags}}

# Download NVRTC, which compiles kernels without a GPU
fetch-nvrtc:
    scripts/fetch-nvrtc

# Pack the parts for a bare GPU box, at most 60 MiB each
gpu-pack *flags:
    scripts/gpu/pack {{flags}}

# On the GPU box: check it step by step
gpu-selfcheck *arguments:
    scripts/gpu/selfcheck {{arguments}}

# Predict tokens per second on an H100 and an H200 from the kernels' machine code
kernels-model *flags:
    scripts/kernels-model {{flags}}

# Measure the real model with the release build and check the record
real-model:
    scripts/real-model

# Test downloads from a hub: kill and resume; BENCH and MODEL.gguf
test-hub bench model:
    scripts/test-hub {{bench}} {{model}}

# Convert a quantized Llama GGUF to safetensors
dequantize-to-safetensors *arguments:
    scripts/dequantize-to-safetensors {{arguments}}

# Build bench with stock candle for NVIDIA GPUs, on a machine with or without one
build-candle-cuda *flags:
    scripts/build-candle-cuda {{flags}}

# Overhead of the harness over a bare candle loop; MODEL.gguf
harness-overhead model:
    scripts/harness-overhead {{model}}

# Update the table of traces and faults in docs/power.md
power-table:
    scripts/power-table

# Update the table of failing NVML functions in docs/power.md
nvml-sweep:
    scripts/nvml-sweep

# The nightly job: build both commits, gate, history page; see --help
nightly *arguments:
    scripts/nightly/run {{arguments}}

# Compare our change points with Apache Otava's
otava *arguments:
    scripts/peer/otava {{arguments}}

# Time and memory of a history of 100,000 records
history-scale *arguments:
    scripts/history-scale {{arguments}}

# Time and memory of importing 1 GiB files with every request in them
import-scale *arguments:
    scripts/import-scale {{arguments}}

# Run the micro-benchmarks and store the results; see --help
micro *arguments:
    scripts/micro {{arguments}}

# Run the gate on our own engine, with and without a planted slowdown; see --help
gate-self *arguments:
    scripts/gate-self {{arguments}}

# Test the gate when things go wrong: kills, a full disk, a reboot
gate-faults *arguments:
    scripts/gate-faults {{arguments}}

# Test a store in a local S3 server
s3 *arguments:
    scripts/peer/s3 {{arguments}}

# Update the tables of simulated gates in docs/regression.md
regress-table:
    scripts/regress-table

# Overhead of reading the sensors during a run
telemetry-overhead *arguments:
    scripts/telemetry-overhead {{arguments}}

# Check costs with numpy and scipy; needs the release build
check-cost:
    scripts/check-cost --bench target/release/bench

# Check the price curve with numpy and scipy; needs the release build
check-forecast:
    scripts/check-forecast --bench target/release/bench

# Compare perplexity with llama-perplexity's; see --help
check-perplexity *arguments:
    scripts/check-perplexity {{arguments}}

# Compare our speed with llama.cpp's; see --help
compare *arguments:
    scripts/peer/compare {{arguments}}

# Compare load clients with a server that knows when it wrote each token; see --help
clients *arguments:
    scripts/peer/clients {{arguments}}

# Random bytes, guided by coverage, through what reads other people's files: gguf, import, prices, record, stream
fuzz target *seconds:
    scripts/fuzz {{target}} {{seconds}}

# Time until the program prints something
start-up:
    scripts/start-up
