# shellcheck shell=bash
# The root shell of the test rig; started by a unit that the rig injects, see shell.rs for how and frames.rs for the frames.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
dir=/run/fleet-rig
mkdir -p $dir
chmod 0700 $dir
cd /
modprobe virtio_console 2>/dev/null

# By sysfs, not by /dev/virtio-ports: that link needs udev, which comes later.
find_port() {
    local name device
    for name in /sys/class/virtio-ports/*/name; do
        [ -r "$name" ] && [ "$(<"$name")" = fleet.rig ] || continue
        device=${name%/name}
        device=/dev/${device##*/}
        [ -c "$device" ] && echo "$device" && return
    done
    return 1
}

until port=$(find_port); do sleep 0.1; done
until exec 3<>"$port"; do sleep 0.1; done

# Status, then both streams by length: a background process may still append to them.
answer() {
    local out err
    out=$(stat -c %s $dir/stdout)
    err=$(stat -c %s $dir/stderr)
    {
        printf '\n@fleet-rig-done %s %s %s %s\n' "$1" "$2" "$out" "$err"
        head -c "$out" $dir/stdout
        head -c "$err" $dir/stderr
    } >&3
}

receive() {
    timeout 60 head -c "$1" <&3 >"$2"
    [ "$(stat -c %s "$2")" = "$1" ]
}

while :; do
    # End of file means that the host's side is closed for the moment, as after a restore.
    IFS=' ' read -r word id seconds command input <&3 || { sleep 0.05; continue; }
    rm -f $dir/stdout $dir/stderr
    : >$dir/stdout
    : >$dir/stderr
    case $word in
    @fleet-rig-ping)
        answer "$id" 0
        ;;
    @fleet-rig-run)
        receive "$command" $dir/command && receive "$input" $dir/input || continue
        timeout -k 2 "$seconds" bash $dir/command <$dir/input >$dir/stdout 2>$dir/stderr 3>&-
        answer "$id" $?
        ;;
    esac
done
