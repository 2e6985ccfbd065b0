# shellcheck shell=bash
# Builds of a commit, with or without a planted slowdown. Source this in scripts that run a gate.
# Builds are cached by commit in ${XDG_CACHE_HOME:-~/.cache}/infercost/nightly; a new one takes a few minutes.

builds=${XDG_CACHE_HOME:-$HOME/.cache}/infercost/nightly

# plant TREE PERCENT: adds a wait at the end of each step, a share of the step's own time, in every engine.
plant() {
    python3 - "$1" "$2" <<'PYTHON'
import pathlib, sys
tree, percent = pathlib.Path(sys.argv[1]), float(sys.argv[2])
places = {
    "crates/engine/src/schedule/mod.rs": "now()", "crates/candle/src/driver.rs": "clock::now()",
    # Paths in older commits.
    "src/engine/schedule/mod.rs": "now()", "src/engine/candle/driver.rs": "clock::now()",
}
planted = 0
for path, clock in places.items():
    path = tree / path
    mark = f"        let end = {clock};\n"
    if not path.exists():
        continue
    text = path.read_text()
    if text.count(mark) != 1:
        sys.exit(f"{path}: no longer has the line where a slowdown is planted")
    wait = (f"        let spent = {clock}.since(start);\n"
            f"        while {clock}.since(start).get() < spent.get() * {1 + percent / 100} {{}}\n")
    path.write_text(text.replace(mark, wait + mark))
    planted += 1
if planted == 0:
    sys.exit("this commit has no engine to plant a slowdown in")
PYTHON
}

# build COMMIT [PERCENT]: builds one commit's program and prints its path.
build() {
    local sha=$1 slower=${2:-} name=bench-$1${2:+-slower-$2} tree=$builds/source
    if [ ! -x "$builds/bin/$name" ]; then
        mkdir -p "$builds/bin"
        git worktree remove --force "$tree" >/dev/null 2>&1 || rm -rf "$tree"
        git worktree prune
        git worktree add --quiet --detach "$tree" "$sha"
        [ -z "$slower" ] || plant "$tree" "$slower"
        (cd "$tree" && INFERCOST_COMMIT=$sha CARGO_TARGET_DIR=$builds/target cargo build --locked --release --bin bench >&2)
        cp "$builds/target/release/bench" "$builds/bin/$name.new"
        mv "$builds/bin/$name.new" "$builds/bin/$name"
        git worktree remove --force "$tree"
    fi
    echo "$builds/bin/$name"
}
