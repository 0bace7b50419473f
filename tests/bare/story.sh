#!/bin/bash
# What `run.sh` runs inside the bare root.
set -euo pipefail
cd /srv/wagateway
export WAGATEWAY_SERVER_PORT=0 WAGATEWAY_STATE_DIR=/srv/state WAGATEWAY_LOG_FORMAT=console
w=.venv/bin/wagateway

step() { printf '\n== %s\n' "$*"; }
run() { echo "\$ $*"; "$@"; }
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }

start() {
    rm -f /srv/state/daemon.json
    env "${to_sandbox[@]}" $w serve >>/srv/daemon.log 2>&1 &
    daemon=$!
    for _ in $(seq 300); do
        [ ! -e /srv/state/daemon.json ] || break
        kill -0 $daemon || { cat /srv/daemon.log; exit 1; }
        sleep 0.1
    done
    echo "the daemon runs: wagateway $(field /srv/state/daemon.json version)"
}

stop() { kill -TERM $daemon; wait $daemon; echo "the daemon ended with $?"; }

connected() {
    for _ in $(seq 200); do
        ! $w sessions --json | grep -q '"status": "connected"' || { $w sessions; return; }
        sleep 0.2
    done
    $w sessions; tail -20 /srv/daemon.log; exit 1
}

step "the machine"
. /etc/os-release
echo "$PRETTY_NAME, $(python3 --version), $(dpkg -l | grep -c ^ii) packages; no ffmpeg, no curl, no compiler:"
for name in ffmpeg curl gcc go node; do ! command -v $name || exit 1; done

step "install: the first command of the README"
command=$(grep -m1 -F 'python3 -m venv' README.md)
echo "\$ $command"
eval "$command"

step "link, in the sandbox"
.venv/bin/python -m gateway.sandbox --directory /srv/whatsapp --port-file /srv/whatsapp.json >/dev/null &
whatsapp=$!
for _ in $(seq 300); do [ ! -e /srv/whatsapp.json ] || break; sleep 0.1; done
control=$(field /srv/whatsapp.json control_url)
mapfile -t to_sandbox < <(python3 -c 'import json
for name, value in json.load(open("/srv/whatsapp.json"))["env"].items(): print(f"{name}={value}")')
python3 /srv/phone.py people "$control"
WAGATEWAY_API_KEY=$($w keys create bare --scope admin 2>/dev/null | tail -1)
export WAGATEWAY_API_KEY
start
python3 /srv/phone.py scan "$control" "$(field /srv/state/daemon.json url)" "$WAGATEWAY_API_KEY" shop &
run $w link shop | tail -2
connected

step "send"
run $w send +15550002222 gateway/examples/hello.mp3 --wait played

step "upgrade"
stop
sed -i 's/^version = "0\.\(.*\)\.\(.*\)"/version = "0.\1.99"/' pyproject.toml
run .venv/bin/pip install -q -c constraints.txt .
start
connected
run $w send +15550002222 "after the upgrade" --wait delivered

step "backup, while it runs"
run $w vault status
run $w backup /srv/today.backup
ls -l /srv/today.backup

step "restore: the disk is lost, the key and the backup are not"
stop
mkdir /srv/lost
mv /srv/state/gateway.db* /srv/state/vault.check /srv/state/sessions /srv/lost/
run $w restore /srv/today.backup
start
connected
run $w send +15550002222 "after the restore" --wait delivered

step "uninstall"
stop
kill $whatsapp
run .venv/bin/pip uninstall -q -y wagateway
rm -rf .venv
! command -v wagateway
echo "what is left is the state: $(ls /srv/state | tr '\n' ' ')"
grep -E 'ERROR|Traceback' /srv/daemon.log && exit 1
echo; echo "all of it worked"
