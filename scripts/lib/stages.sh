# shellcheck shell=bash
# Runs the stages of a check and times each. Source it after `set -euo pipefail`.
#
# `stage NAME COMMAND...` prints a heading, runs the command and records its time. A command that fails ends the script,
# as anywhere under `set -e`. The outermost script that sources this file prints a table of all stages on exit, after
# success or failure, including the stages of scripts it calls.

if [ -z "${INFERCOST_STAGES:-}" ]; then
    INFERCOST_STAGES=$(mktemp)
    export INFERCOST_STAGES
    stages_owner=yes
else
    stages_owner=no
fi
stage_running=
stage_began=0

stage() {
    stage_running=$1
    stage_began=$SECONDS
    shift
    echo "==> $stage_running"
    "$@"
    stage_note ""
}

stage_note() {
    printf '%s\t%s\n' $((SECONDS - stage_began)) "$stage_running$1" >>"$INFERCOST_STAGES"
    stage_running=
}

stages_end() {
    [ -z "$stage_running" ] || stage_note " (failed)"
    [ $stages_owner = yes ] || return 0
    echo
    awk -F'\t' '
        { printf "%7.1f min  %s\n", $1 / 60, $2; sum += $1 }
        END { printf "%7.1f min  total\n", sum / 60 }' "$INFERCOST_STAGES"
    rm -f "$INFERCOST_STAGES"
}
trap stages_end EXIT
