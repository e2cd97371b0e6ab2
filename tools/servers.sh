#!/usr/bin/env bash
# Installs the real servers that tests run against, from Debian's packages, when they are missing and it may.
# Starts and stops no service. With CI=true a server still missing at the end is a failure; else the tests skip and say so.
set -euo pipefail

# program:package, or file:package. The console's pages are looked at in Chromium, and their Chinese needs a font.
wanted=(mosquitto:mosquitto mosquitto_pub:mosquitto-clients influxd:influxdb victoria-metrics:victoria-metrics
    systemd-analyze:systemd strace:strace dbus-daemon:dbus-daemon chromium:chromium faketime:faketime
    /usr/share/fonts/truetype/wqy/wqy-microhei.ttc:fonts-wqy-microhei)

missing() {
    local entry
    for entry in "${wanted[@]}"; do
        [ -e "${entry%%:*}" ] || PATH="$PATH:/usr/sbin:/sbin" command -v "${entry%%:*}" >/dev/null || echo "$entry"
    done
}

mapfile -t lacking < <(missing)
[ "${#lacking[@]}" -eq 0 ] && exit 0

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }; then
    echo "Installing for the tests: ${lacking[*]##*:}"
    # Debian starts a service when it is installed, unless policy-rc.d says no; ours says so only for this install.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap '"${as_root[@]}" rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
    fi
    install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
        apt-get install --yes --quiet --no-install-recommends "${lacking[@]##*:}")
    # The package lists may be absent or old: only then is the slow update needed.
    if ! "${install[@]}" >/dev/null 2>&1; then
        "${as_root[@]}" apt-get update --quiet >/dev/null || true
        "${install[@]}" >/dev/null || true
    fi
    mapfile -t lacking < <(missing)
    [ "${#lacking[@]}" -eq 0 ] && exit 0
fi

echo "Not covered by the tests, for want of: ${lacking[*]%%:*}" >&2
echo "  → apt-get install ${lacking[*]##*:}" >&2
[ "${CI:-}" != true ] || exit 1
