# The functions that mmdebstrap's hooks call. Each hook reads this file first; `hooks` writes the
# calls. $DARUMA is the folder of this build.
#
# A hook runs as root of the root filesystem's user namespace. $1 is the root filesystem's path.
# Functions with `( )` run in a shell of their own, so they may change directories and variables.

set -eu
export DARUMA
. "$DARUMA/disk.sh"
unset IMAGE IMAGEMNTDIR
[ ! -e "$DARUMA/image" ] || IMAGE=$(cat "$DARUMA/image")
trap 'code=$?; [ "$code" = 0 ] || echo "daruma-bundler: failed $code" >&2' EXIT
umask 022

# begin NUMBER: says which action follows. What scripts print goes where errors go.
begin() {
    echo "daruma-bundler: action $1" >&2
    exec >&2
}

# finish NUMBER: says that the work of an action before is now ended.
finish() {
    echo "daruma-bundler: finishing $1" >&2
    exec >&2
}

# inside ROOT PATH: prints the path with its links followed inside the root. A link to /run in the
# root must not lead to the /run of the build host.
inside() (
    at= left=$2 count=0
    while [ -n "$left" ]; do
        part=${left%%/*}
        case $left in */*) left=${left#*/} ;; *) left= ;; esac
        case $part in '' | .) continue ;; ..) at=${at%/*} && continue ;; esac
        if [ -L "$1$at/$part" ] && [ "$count" -lt 40 ]; then
            count=$((count + 1)) link=$(readlink "$1$at/$part")
            case $link in /*) at= ;; esac
            left=$link/$left
        else
            at=$at/$part
        fi
    done
    printf '%s' "$1$at"
)

# with_environment COMMAND...: runs a command with a fixed environment and the variables of -e.
with_environment() {
    eval "set -- $(cat "$DARUMA/environment")"' "$@"'
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        LC_ALL=C.UTF-8 TZ=UTC DEBIAN_FRONTEND=noninteractive TERM="${TERM-dumb}" \
        SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" ${INITRD:+INITRD="$INITRD"} \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        ${no_proxy:+no_proxy="$no_proxy"} ${IMAGE:+IMAGE="$IMAGE"} "$@"
}

# resolve_names ROOT: lets programs in the root resolve names. Files that are missing are there for
# the time of the action: /etc/hosts, and what /etc/resolv.conf leads to.
resolve_names() (
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$DARUMA/hosts"
    lend "$1" /etc/hosts "$DARUMA/hosts"
    [ ! -e /etc/resolv.conf ] || lend "$1" /etc/resolv.conf /etc/resolv.conf
)

# lend ROOT PATH SOURCE: puts a copy there, unless the root has the file.
lend() (
    file=$(inside "$1" "$2")
    [ ! -e "$file" ] || return 0
    mkdir -p "${file%/*}"
    cp -L "$3" "$file"
    cp -L "$3" "$DARUMA/lent-${2##*/}"
    printf '%s' "$file" >"$DARUMA/lent-${2##*/}.path"
)

# forget_names: takes these files away again, unless the action has changed them.
forget_names() (
    for name in hosts resolv.conf; do
        lent=$DARUMA/lent-$name
        [ -e "$lent.path" ] || continue
        file=$(cat "$lent.path")
        ! cmp -s "$lent" "$file" || rm "$file"
        rmdir "${file%/*}" 2>/dev/null || true
        rm "$lent" "$lent.path"
    done
)

# in_root ROOT COMMAND...: runs a command in the root.
in_root() {
    root=$1 code=0
    shift
    resolve_names "$root"
    enter "$root" "$@" || code=$?
    forget_names
    return "$code"
}

# script_in_root ROOT FOLDER COMMAND: runs a command that finds the folder at /tmp/script.
script_in_root() {
    mkdir -p "$1/tmp/script"
    resolve_names "$1"
    code=0
    unshare --mount sh -e -c '
        . "$DARUMA"/hooks.sh
        mount --bind "$2" "$1/tmp/script"
        mount -o remount,bind,ro "$1/tmp/script" 2>/dev/null || true
        enter "$1" /bin/sh -e -u -c "$3"' sh "$1" "$2" "$3" || code=$?
    forget_names
    rmdir "$1/tmp/script"
    return "$code"
}

# on_host ROOT RECIPEDIR ARTIFACTDIR COMMAND
on_host() (
    export ROOTDIR="$1" RECIPEDIR="$2" ARTIFACTDIR="$3"
    [ -z "${IMAGE-}" ] || export IMAGE
    at=$(mounted "$1")
    [ -z "$at" ] || export IMAGEMNTDIR="$at"
    if [ -e "$DARUMA/loop" ] && [ -f "${IMAGE-}" ]; then
        with_block_device sh -e -u -c "$4"
    else
        exec sh -e -u -c "$4"
    fi
)

# after_all RECIPEDIR ARTIFACTDIR COMMAND: what comes after the build, in the artifact folder.
after_all() (
    unset ROOTDIR IMAGE IMAGEMNTDIR
    export RECIPEDIR="$1" ARTIFACTDIR="$2"
    cd "$2"
    exec sh -e -u -c "$3"
)

# sources_of ROOT: prints a number that changes when apt's sources or keys do.
sources_of() (
    cd "$1/etc/apt" 2>/dev/null || return 0
    find . -type f ! -name 00mmdebstrap -print0 | sort -z | xargs -0 cat | cksum
)

# install ROOT UPDATE RECOMMENDS UNAUTHENTICATED PACKAGES...
install_packages() {
    root=$1 update=$2 recommends=$3 unauthenticated=$4
    shift 4
    now=$(sources_of "$root")
    if [ "$update" = true ] && [ "$now" != "$(cat "$DARUMA/sources" 2>/dev/null)" ]; then
        APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get update
        printf '%s' "$now" >"$DARUMA/sources"
    fi
    set -- apt-get --yes -oDPkg::Chroot-Directory="$root" \
        -oApt::Install-Recommends="$recommends" \
        -oAPT::Get::AllowUnauthenticated="$unauthenticated" install "$@"
    # A kernel's package runs update-grub then. dpkg cannot replace a program that the stand-in
    # hides, so the stand-in is there only then.
    if [ -e "$DARUMA/deployed" ] && [ -e "$root/boot/grub/grub.cfg" ]; then
        set -- unshare --mount sh -e -c "$STAND_IN" sh "$root" "$DARUMA" "$@"
    fi
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG DEBIAN_FRONTEND=noninteractive "$@"
}

# install_files ROOT UPDATE RECOMMENDS UNAUTHENTICATED FILES...: dpkg finds the files in the root.
install_files() {
    root=$1 update=$2 recommends=$3 unauthenticated=$4
    shift 4
    mkdir "$root/tmp/daruma-packages"
    cp -L -- "$@" "$root/tmp/daruma-packages/"
    install_packages "$root" "$update" "$recommends" "$unauthenticated" \
        "$root"/tmp/daruma-packages/*.deb
    rm -r "$root/tmp/daruma-packages"
}

# lay ROOT TAR FOLDER NAMES...: unpacks a tar whose files belong to root. Folders that are there
# stay as they are, links to folders too. NAMES are the folders of the tar, which get their time
# again.
lay() {
    root=$1 tar=$2 to=$3
    shift 3
    folder=$(inside "$root" "$to")
    mkdir -p "$folder"
    # The root's own tar follows links inside the root. Another one knows fewer options.
    if chroot "$root" tar --version 2>/dev/null | grep -q GNU; then
        chroot "$root" tar -x --no-overwrite-dir --keep-directory-symlink -C "$to" <"$tar"
    else
        tar -x --no-overwrite-dir -C "$folder" <"$tar"
    fi
    [ "$#" = 0 ] || (cd "$folder" && touch -h -d "@$SOURCE_DATE_EPOCH" -- "$@")
}

# lay_now ROOT SOURCE TO: the same for a folder or a file that an earlier action has made.
lay_now() {
    tar=$DARUMA/now.tar
    set -- "$1" "$2" "$3" "${3##*/}"
    if [ -d "$2" ]; then
        tar -c --sort=name --owner=0 --group=0 --numeric-owner --mode=go-w \
            --mtime="@$SOURCE_DATE_EPOCH" -C "$2" . >"$tar"
        lay "$1" "$tar" "$3"
    elif [ -e "$2" ] && [ -n "$4" ]; then
        name=$(mktemp -d)
        cp -L "$2" "$name/$4"
        tar -c --owner=0 --group=0 --numeric-owner --mode=go-w --mtime="@$SOURCE_DATE_EPOCH" \
            -C "$name" "$4" >"$tar"
        rm -r "$name"
        lay "$1" "$tar" "${3%/*}/"
    else
        echo "$2 is no folder and no file, or its destination is no name" >&2
        return 1
    fi
    rm "$tar"
}

# unpack ROOT KIND FILE FOLDER [OPTION]
unpack() {
    folder=$(inside "$1" "$4")
    mkdir -p "$folder"
    case $2 in
        tar)
            # mmdebstrap makes the devices. As an ordinary user nobody can.
            tar -x --xattrs --xattrs-include='*.*' --numeric-owner --anchored \
                --exclude='./dev/?*' --exclude='dev/?*' ${5:+"$5"} -C "$folder" -f "$3"
            ;;
        zip) unzip -q -o "$3" -d "$folder" ;;
        deb) dpkg-deb -x "$3" "$folder" ;;
    esac
}

# tidy ROOT: takes away what mmdebstrap has put there for the time of the build, and what is
# different on every host. untidy puts it back.
tidy() (
    mkdir "$DARUMA/away"
    take() {
        [ -e "$root/$1" ] || return 0
        mkdir -p "$DARUMA/away/${1%/*}"
        cp -a "$root/$1" "$DARUMA/away/$1"
        [ "$#" = 2 ] || rm "$root/$1"
    }
    root=$1
    take usr/sbin/policy-rc.d
    take etc/apt/apt.conf.d/00mmdebstrap
    for file in hostname resolv.conf; do
        [ -L "$root/etc/$file" ] || ! cmp -s "$root/etc/$file" "$DARUMA/host/$file" ||
            take "etc/$file"
    done
    if [ -s "$root/etc/machine-id" ]; then
        take etc/machine-id stays
        : >"$root/etc/machine-id"
    fi
    if [ -e "$root/sbin/start-stop-daemon.REAL" ]; then
        take sbin/start-stop-daemon
        mv "$root/sbin/start-stop-daemon.REAL" "$root/sbin/start-stop-daemon"
        touch "$DARUMA/away/daemon"
    fi
)

untidy() (
    if [ -e "$DARUMA/away/daemon" ]; then
        rm "$DARUMA/away/daemon"
        mv "$1/sbin/start-stop-daemon" "$1/sbin/start-stop-daemon.REAL"
    fi
    (cd "$DARUMA/away" && find . -type f) | while read -r file; do
        cp -a "$DARUMA/away/$file" "$1/$file"
    done
    rm -r "$DARUMA/away"
)

# unmount_below ROOT: for a mount namespace of its own.
unmount_below() {
    # A space is \040 in this file.
    while read -r _ _ _ _ at _; do
        at=$(printf %b "$(printf %s "$at" | sed 's/\\\([0-7]\{3\}\)/\\0\1/g')")
        case $at in "$1"/*) echo "$at" ;; esac
    done </proc/self/mountinfo | while read -r at; do
        # What lies on it goes with it, and is no mount any more when its turn comes.
        umount -l "$at" 2>/dev/null || true
    done
}

# write_tar ROOT FOLDER: writes a tar without what is mounted for the time of the build.
write_tar() {
    unmount_below "$1"
    tar -c --sort=name --numeric-owner --xattrs --xattrs-include='*' --format=pax \
        --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
        --mtime="@$SOURCE_DATE_EPOCH" --clamp-mtime --anchored \
        --exclude='./proc/?*' --exclude='./sys/?*' --exclude='./dev/?*' --exclude='./run/?*' \
        --exclude='./var/lib/apt/lists/?*' --exclude='./var/cache/apt/archives/?*' \
        --exclude='./var/cache/apt/*.bin' --exclude=./var/cache/ldconfig/aux-cache \
        --exclude=./var/lib/dbus/machine-id --exclude='./var/log/apt/?*' \
        --exclude='./tmp/mmdebstrap.apt.conf.*' --exclude=./var/log/dpkg.log \
        --exclude=./var/log/alternatives.log -C "$2" .
}

# pack ROOT FOLDER FILE [PROGRAM...]: writes a tar. FILE appears when it is whole. The parts have
# names of this build's, so another build cannot write to them.
pack() {
    root=$1 folder=$(inside "$1" "$2") file=$3 part=$3.${DARUMA##*-}.part
    shift 3
    if [ ! -d "$folder" ]; then
        echo "the root filesystem has no folder ${folder#"$root"}" >&2
        return 1
    fi
    mkdir -p "${file%/*}"
    # What a killed build has left.
    find "${file%/*}" -maxdepth 1 -name "${file##*/}.??????.part*" -mmin +1440 -delete
    tidy "$root"
    code=0
    unshare --mount sh -e -c '. "$DARUMA"/hooks.sh; write_tar "$@"' sh "$root" "$folder" \
        >"$part.tar" || code=$?
    untidy "$root"
    if [ "$code" = 0 ] && [ "$#" -gt 0 ]; then
        "$@" <"$part.tar" >"$part" || code=$?
        rm "$part.tar"
    elif [ "$code" = 0 ]; then
        mv "$part.tar" "$part"
    fi
    if [ "$code" != 0 ]; then
        rm -f "$part" "$part.tar"
        return "$code"
    fi
    mv "$part" "$file"
}

# use_lock: lets apt see the archive that holds what the lock names, and no other. The root's own
# sources.list stays as it is. The files belong to the user, and apt's user cannot read them.
use_lock() (
    {
        echo "Dir::Etc::SourceList \"$DARUMA/locked.list\";"
        echo 'Dir::Etc::SourceParts "/dev/null"; APT::Sandbox::User "root";'
    } >>"$MMDEBSTRAP_APT_CONFIG"
)

# keep_ids ROOT: gives accounts the numbers of the last lock.
keep_ids() {
    "$DARUMA/daruma-bundler" keep-ids "$1" "$DARUMA/lock"
}

# note_packages ROOT: keeps apt's indexes and package files for the lock, before a later action
# removes them.
note_packages() (
    notes=$DARUMA/notes
    mkdir -p "$notes/lists" "$notes/archives"
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get indextargets \
        --format '$(FILENAME) $(REPO_URI) $(RELEASE)' 'Created-By: Packages' >>"$notes/targets"
    for file in "$1"/var/lib/apt/lists/*; do
        [ ! -f "$file" ] || cp -u "$file" "$notes/lists/"
    done
    for file in "$1"/var/cache/apt/archives/*.deb; do
        [ ! -e "$file" ] || ln -f "$file" "$notes/archives/" 2>/dev/null ||
            cp -u "$file" "$notes/archives/"
    done
)

# note_system ROOT: notes what is installed, and the accounts.
note_system() (
    mkdir -p "$DARUMA/notes"
    for file in var/lib/dpkg/status etc/passwd etc/group; do
        [ ! -e "$1/$file" ] || cp "$1/$file" "$DARUMA/notes/"
    done
    ls "$1/var/cache/apt/archives" >"$DARUMA/notes/fetched" 2>/dev/null || true
)

# remember_host ROOT: remembers what mmdebstrap copied from the host.
remember_host() (
    mkdir -p "$DARUMA/host"
    for file in hostname resolv.conf; do
        [ ! -e "$1/etc/$file" ] || cp "$1/etc/$file" "$DARUMA/host/$file"
    done
    [ ! -e "$1/etc/apt" ] || sources_of "$1" >"$DARUMA/sources"
)

# start_empty ROOT: takes away what mmdebstrap writes into a root that nothing has made yet.
start_empty() (
    remember_host "$1"
    rm -f "$1/etc/apt/sources.list" "$1/etc/fstab" "$DARUMA/sources"
)

# forget_host ROOT: removes a file that is still the host's, and keeps one that an action wrote.
# When systemd-resolved is installed, it copies the resolv.conf that it finds, which is the host's.
forget_host() (
    rm -f "$1/etc/.resolv.conf.systemd-resolved.bak"
    for file in hostname resolv.conf; do
        [ -L "$1/etc/$file" ] || ! cmp -s "$1/etc/$file" "$DARUMA/host/$file" || rm "$1/etc/$file"
    done
    rm -rf "$DARUMA/host"
    # apt gives these folders to its user, whose number is the build host's. mmdebstrap calls apt
    # once more after this hook.
    for folder in var/cache/apt/archives/partial var/lib/apt/lists/partial; do
        [ ! -d "$1/$folder" ] || chown 0:0 "$1/$folder"
    done
    [ -z "${MMDEBSTRAP_APT_CONFIG-}" ] ||
        echo 'APT::Sandbox::User "root";' >>"$MMDEBSTRAP_APT_CONFIG"
)

# keep_state ROOT NUMBER FILE SECONDS: keeps the root as it is now, if that many seconds of work
# went into it since the last state. The build goes on without it if there is no room.
keep_state() (
    [ $(($(date +%s) - $(cat "$DARUMA/since"))) -ge "$4" ] || return 0
    # What is the host's is not kept. The state says which files these are.
    left_out= names=
    for file in hostname resolv.conf; do
        if [ ! -L "$1/etc/$file" ] && cmp -s "$1/etc/$file" "$DARUMA/host/$file"; then
            left_out="$left_out --exclude=./etc/$file" names="$names $file"
        fi
    done
    for folder in sbin usr/sbin; do
        [ ! -e "$1/$folder/start-stop-daemon.REAL" ] ||
            left_out="$left_out --exclude=./$folder/start-stop-daemon"
    done
    now=$(cat "$DARUMA/sources" 2>/dev/null) || now='- -'
    if unshare --mount sh -e -c '. "$DARUMA"/hooks.sh; write_state "$@"' sh "$1" $left_out \
        2>"$DARUMA/not-kept" >"$3"; then
        echo "daruma-bundler: kept $2 $now$names" >&2
    else
        : >"$3"
        # tar does not say why a file took less than all.
        why=$(sed -e '/^daruma-bundler/d' -e 's/.*Wrote only.*/No space left on device/' \
            "$DARUMA/not-kept" | head -n 1)
        echo "daruma-bundler: not kept $2 $why" >&2
    fi
    date +%s >"$DARUMA/since"
)

# write_state ROOT OPTIONS...: writes everything that later actions can see, with its exact times.
write_state() {
    unmount_below "$1"
    root=$1
    shift
    tar -c --numeric-owner --xattrs --xattrs-include='*' --format=pax \
        --pax-option=delete=atime,delete=ctime --anchored "$@" \
        --exclude='./proc/?*' --exclude='./sys/?*' --exclude='./dev/?*' \
        --exclude='./var/cache/apt/archives/*.deb' --exclude='./var/cache/apt/*.bin' \
        --exclude='./tmp/mmdebstrap.apt.conf.*' --exclude=./usr/sbin/policy-rc.d \
        --exclude=./etc/apt/apt.conf.d/00mmdebstrap -C "$root" .
}

# take_state ROOT FILE: replaces what mmdebstrap has begun by a state. $DARUMA/state is its note.
take_state() (
    remember_host "$1"
    cp -p "$1/etc/apt/apt.conf.d/00mmdebstrap" "$DARUMA/host/"
    find "$1" -mindepth 1 -maxdepth 1 ! -name dev ! -name tmp -exec rm -r --one-file-system {} +
    tar -x -p --xattrs --xattrs-include='*.*' --numeric-owner -C "$1" -f "$2"
    read -r sum size names <"$DARUMA/state"
    for file in $names; do
        cp -p "$DARUMA/host/$file" "$1/etc/$file"
    done
    [ ! -d "$1/etc/apt/apt.conf.d" ] ||
        cp -p "$DARUMA/host/00mmdebstrap" "$1/etc/apt/apt.conf.d/"
    for folder in sbin usr/sbin; do
        [ -L "$1/$folder" ] || [ ! -e "$1/$folder/start-stop-daemon.REAL" ] ||
            mv "$1/$folder/start-stop-daemon.REAL" "$1/$folder/start-stop-daemon"
    done
    rm -f "$DARUMA/sources"
    # The archive of a lock lies in another folder now, so apt reads its lists again.
    [ "$sum" = - ] || [ -e "$DARUMA/locked.list" ] || printf '%s' "$sum $size" >"$DARUMA/sources"
    date +%s >"$DARUMA/since"
)
