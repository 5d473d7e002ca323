#!/bin/sh
# Load one night: waits for the file FOLDER/ready, in three parts.
#   longcall serve --topic completions --project my-project -- ./nightly.sh --folder {folder} --date {date}
set -eu
folder=$2 date=$4
echo "night of $date, attempt $LONGCALL_ATTEMPT"
touch "$folder/begun-$LONGCALL_ATTEMPT"
until [ -e "$folder/ready" ]; do sleep 0.1; done
for part in 1 2 3; do
    echo "::progress $part/3 part $part"
done
printf '{"date": "%s", "rows": 42, "attempt": %d}' "$date" "$LONGCALL_ATTEMPT" > "$LONGCALL_RESULT"
