# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# expect.sh - sourced by the scripts that ask a command, whose words come in `command`: a folder to work
# in, and how often something was as expected.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0

# expect CODE PATTERN ARGUMENT...: the exit code, and a pattern in what is said (stdout or stderr).
expect() {
    local code=$1 pattern=$2 got=0
    shift 2
    # shellcheck disable=SC2154
    "${command[@]}" "$@" >"$work/said" 2>&1 </dev/null || got=$?
    if [ "$got" -ne "$code" ] || { [ -n "$pattern" ] && ! grep -qE -- "$pattern" "$work/said"; }; then
        echo "${command[*]} $*: exit $got, expected $code and /$pattern/; it said:"
        head -n 20 "$work/said"
        exit 1
    fi
    count=$((count + 1))
}
