# shellcheck shell=bash
# The handler of `bootstrap`.

handler() {
    echo "an event of ${#1} characters" >&2
    if [[ $1 == *fail-please* ]]; then
        echo '{"errorMessage":"as it was told to","errorType":"Refused"}'
        return 1
    fi
    echo "$1"
}
