#!/usr/bin/env bash
# What the action does, by NAME, PROJECT, PULL_REQUEST (empty for a push) and ACTION.
set -euo pipefail

if [ -z "${PULL_REQUEST:-}" ]; then
    deployed=$(sockhop deploy "$PROJECT" --name "$NAME" --json)
    url=$(jq --raw-output '.urls[0] // empty' <<<"$deployed")
else
    preview="$NAME@pr-$PULL_REQUEST"
    if [ "$ACTION" = closed ]; then
        # There is none of a pull request that never built.
        if sockhop alias list "$NAME" --json |
            jq --exit-status --slurp --arg alias "pr-$PULL_REQUEST" 'any(.alias == $alias)' >/dev/null; then
            sockhop alias remove "$preview"
        fi
        exit 0
    fi
    deployed=$(sockhop deploy "$PROJECT" --name "$NAME" --no-activate --json)
    sockhop alias set "$preview" "$(jq --raw-output .version <<<"$deployed")"
    # Of a function that is live without --previews, nobody may name versions.
    url=$(jq --raw-output '.urls[0] // empty' <<<"$deployed" | sed -E "s/(@|--)v[0-9]+/\1pr-$PULL_REQUEST/")
fi
printf 'url=%s\n' "$url" | tee -a "${GITHUB_OUTPUT:-/dev/null}"
