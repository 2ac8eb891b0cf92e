#!/usr/bin/env bash
# Proves that a build can be repeated: "reproduce.sh DIST COMMAND..." runs the command, which fills the folder DIST, in a copy of
# the checkout in another folder, and compares the result byte by byte with the checkout's own. Goreleaser's records of its run,
# which contain the time and the machine, may differ.
set -euo pipefail
dist=$1
shift
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# The copy has the commit, the tags, and the files as they are now, with uncommitted changes and without what git ignores.
cp "$(git rev-parse --git-path index)" "$tmp/index"
GIT_INDEX_FILE=$tmp/index git add --all
tree=$(GIT_INDEX_FILE=$tmp/index git write-tree)
git clone --quiet --no-checkout . "$tmp/copy"
git -C "$tmp/copy" read-tree --reset -u "$tree"
git -C "$tmp/copy" reset --quiet

(cd "$tmp/copy" && "$@")
[ -n "$(ls -A "$dist")" ] || { echo "$dist is empty"; exit 1; }
diff -rq -x artifacts.json -x config.yaml -x metadata.json "$dist" "$tmp/copy/$dist" || { echo "the second build differs"; exit 1; }
echo "two builds of $dist in two folders: the same bytes"
