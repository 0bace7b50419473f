#!/bin/bash
# A bare Debian with nothing but python3, venv and pip: install, link, send, upgrade, backup, restore, uninstall.
# Run as root, in a clone. Takes some minutes; needs debootstrap, the package mirror of this machine's apt and its pip.
#   tests/bare/run.sh             makes the root, runs the story, removes the root
#   BASE=/some/root tests/bare/run.sh   takes a copy of a root that debootstrap made before
set -euo pipefail

repository=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
release=bookworm

if [ "${1:-}" != --inside ]; then
    work=$(mktemp -d)
    trap 'rm -rf --one-file-system "$work"' EXIT
    # In a mount namespace of its own: whatever happens, no mount is left behind.
    unshare --mount --propagation private "$0" --inside "$work/root"
    exit
fi

root=$2
if [ -n "${BASE:-}" ]; then
    cp -a "$BASE" "$root"
else
    mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' | awk -v r=$release '$1 == r { print $2; exit }')
    echo "== a bare $release root"
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates $release "$root" "$mirror" | tail -1
fi
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"

# How this machine reaches the package index: its resolver, its certificates, pip's own settings.
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
[ ! -e /etc/pip.conf ] || cp -L /etc/pip.conf "$root/etc/"
find_links=${PIP_FIND_LINKS:-}
if [ -d "$find_links" ]; then
    mkdir -p "$root$find_links"
    mount --bind "$find_links" "$root$find_links"
fi

mkdir -p "$root/srv/wagateway"
git -C "$repository" archive HEAD | tar -x -C "$root/srv/wagateway"
cp "$repository/tests/bare/story.sh" "$repository/tests/bare/phone.py" "$root/srv/"

env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    $(env | grep -E '^(PIP_|(https?|no)_proxy=|(HTTPS?|NO)_PROXY=)' || true) \
    chroot "$root" /bin/bash /srv/story.sh
