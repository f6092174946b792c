# The functions of disks. hooks.sh reads this file; `plan` writes the files in $DARUMA/disk:
#   table      the whole disk with nothing but its partition table
#   layout     a line for each filesystem, the deepest mountpoint first: number, first byte, bytes,
#              when (now, mount, build), mountpoint
#   format-N   makes filesystem N in $file, and fills it from $tree
# $IMAGE is the disk while it is made, a plain file.

# mounted ROOT: prints where the disk's filesystems are, as scripts see them.
mounted() {
    if [ -e "$DARUMA/deployed" ]; then
        printf '%s' "$1"
    elif [ -d "$DARUMA/mnt" ]; then
        printf '%s' "$DARUMA/mnt"
    fi
}

make_disk() {
    mkdir -p "${IMAGE%/*}"
    rm -f "$IMAGE"
    cp --sparse=always "$DARUMA/disk/table" "$IMAGE"
    rm "$DARUMA/disk/table"
    mkdir -p "$DARUMA/empty"
    while read -r number offset length when at; do
        case $when in
            now) fill "$number" "$offset" "$length" "$DARUMA/empty" ;;
            *) mkdir -p "$DARUMA/mnt$at" ;;
        esac
    done <"$DARUMA/disk/layout"
}

# fill NUMBER OFFSET LENGTH TREE: makes a filesystem and puts it on the disk.
fill() {
    file=$DARUMA/filesystem tree=$4
    rm -f "$file"
    truncate -s "$3" "$file"
    . "$DARUMA/disk/format-$1"
    # A program that finds the file too small may make it larger.
    size=$(stat -c %s "$file")
    if [ "$size" -gt "$3" ]; then
        echo "the filesystem of partition $1 needs $size bytes, and there are $3" >&2
        return 1
    fi
    sparse=
    if fallocate --punch-hole --offset "$2" --length "$3" "$IMAGE" 2>/dev/null; then
        sparse=,sparse
    fi
    dd if="$file" of="$IMAGE" bs=1M oflag=seek_bytes seek="$2" conv=notrunc$sparse status=none
    rm "$file"
}

# fill_fat TREE FILE: the folder's content, in the order of the names.
fill_fat() (
    export MTOOLS_SKIP_CHECK=1 LC_ALL=C.UTF-8 TZ=UTC
    cd "$1"
    find . -mindepth 1 | LC_ALL=C sort >"$DARUMA/names"
    while read -r name; do
        if [ -d "$name" ] && [ ! -L "$name" ]; then
            mmd -i "$2" "::${name#.}"
        elif [ -f "$name" ] && [ ! -L "$name" ]; then
            mcopy -m -Q -i "$2" "$name" "::${name#.}"
        else
            echo "FAT has no links and no devices, and ${name#.} is one" >&2
            exit 1
        fi
    done <"$DARUMA/names"
)

# mend_ext TREE FILE: mke2fs takes the times of the copy, and not the owner of the top folder.
mend_ext() (
    cd "$1"
    time=@$SOURCE_DATE_EPOCH
    {
        printf 'sif / mode 04%04d\n' "$(stat -c %a .)"
        stat -c 'sif / uid %u
sif / gid %g
sif / mtime @%Y' .
        for name in / /lost+found; do
            echo "sif $name atime $time"
            echo "sif $name ctime $time"
            echo "sif $name crtime $time"
        done
        echo "sif /lost+found mtime $time"
        # debugfs reads a name in quotes, so a name with quotes keeps the times of the build.
        for field in atime ctime crtime; do
            find . -mindepth 1 ! -path '*"*' ! -path '*
*' -printf "sif \"/%P\" $field $time\n"
        done
    } >"$DARUMA/times"
    E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH debugfs -w -f "$DARUMA/times" "$2" 2>&1 >/dev/null |
        grep -v '^debugfs [0-9]' >&2 || true
)

# top_is_plain TREE: some programs make the top folder root's, with the mode 755.
top_is_plain() {
    [ "$(stat -c %a-%u-%g "$1")" = 755-0-0 ] || {
        echo "this filesystem's top folder can only be root's with the mode 755, and it is" \
            " $(stat -c %a-%u-%g "$1")" >&2
        return 1
    }
}

# fill_f2fs TREE FILE: sload.f2fs knows no extended attributes. ACLs are let go, as systemd makes
# its own again; capabilities of programs are not.
fill_f2fs() {
    [ -n "$(ls -A "$1")" ] || return 0
    lost=$(cd "$1" && getfattr -R -h -m '^(security|user)[.]' . 2>/dev/null | head -n 1)
    if [ -n "$lost" ]; then
        echo "f2fs cannot be filled with extended attributes, and ${lost#"# file: "} has some" >&2
        return 1
    fi
    top_is_plain "$1"
    code=0
    sload.f2fs -P -T "$SOURCE_DATE_EPOCH" -f "$1" -t / "$2" >"$DARUMA/sload" 2>&1 || code=$?
    [ "$code" = 0 ] || tail -n 5 "$DARUMA/sload" >&2
    return "$code"
}

# Turns lines of find (type, mode, owner, group, time, depth, path, target) into two files: the
# list that mkfs.xfs reads, and the commands of xfs_db for what that list cannot say.
XFS_LISTS='
    BEGIN { print "/\n0 0" >proto }
    {
        type = $1; mode = sprintf("%04d", $2); depth = $6; path = $7
        while (open > depth) { print "$" >proto; open-- }
        special = substr(mode, 1, 1) + 0
        word = (type == "f" ? "-" : type) (int(special / 4) ? "u" : "-")
        word = word (int(special / 2) % 2 ? "g" : "-") substr(mode, 2)
        name = path
        sub(/.*\//, "", name)
        if (depth > 0) printf "%s ", name >proto
        printf "%s %s %s", word, $3, $4 >proto
        if (type == "f") printf " %s", path >proto
        if (type == "l") printf " %s", $8 >proto
        print "" >proto
        if (type == "d") open++
        print "path " (depth > 0 ? substr(path, 2) : "/") >commands
        if (type == "d") print "write core.mode 04" mode >commands
        # Nanoseconds since the earliest moment that xfs knows. A number of awk cannot hold them.
        sub(/[.].*/, "", $5)
        printf "write core.mtime.sec %.0f000000000\n", $5 + 2147483648 >commands
    }
    END { while (open-- > 0) print "$" >proto }'

# fill_xfs TREE FILE LABEL UUID SECTOR: mkfs.xfs fills a filesystem from a list. The list cannot
# name two links of one file, which become two files, nor extended attributes, nor some names: a
# colon begins a comment, and a dollar ends a folder.
fill_xfs() (
    cd "$1"
    wrong=$(find . -name '*[[:space:]]*' -o -lname '*[[:space:]]*' -o -name ':*' -o -lname ':*' \
        -o -name '$' -o -type s -o -type b -o -type c | head -n 1)
    if [ -n "$wrong" ]; then
        echo "xfs can be filled with plain files only, without blanks and without a colon at the" \
            "beginning of a name: not with ${wrong#.}" >&2
        exit 1
    fi
    lost=$(getfattr -R -h -m '^(security|user)[.]' . 2>/dev/null | head -n 1)
    if [ -n "$lost" ]; then
        echo "xfs cannot be filled with extended attributes, and ${lost#"# file: "} has some" >&2
        exit 1
    fi
    # The slash becomes the first of all characters, so a folder comes right before its content.
    find . -printf '%y %m %U %G %T@ %d %p %l\n' | tr / '\001' | LC_ALL=C sort -k 7,7 |
        tr '\001' / >"$DARUMA/listed"
    awk -v proto="$DARUMA/proto" -v commands="$DARUMA/commands" "$XFS_LISTS" "$DARUMA/listed"
    export TZ=UTC LC_ALL=C
    faketime -f "$(date -d "@$SOURCE_DATE_EPOCH" '+%Y-%m-%d %H:%M:%S')" mkfs.xfs -q -f -L "$3" \
        -m uuid="$4" -s size="$5" -p "$DARUMA/proto" "$2"
    xfs_db -x "$2" <"$DARUMA/commands" >"$DARUMA/xfs" 2>&1 || {
        tail -n 5 "$DARUMA/xfs" >&2
        exit 1
    }
    # What xfs_db writes as a time is not the same in every version.
    said=$(xfs_db -r -c 'path /' -c 'print core.mtime.sec' "$2")
    if [ "$said" != "core.mtime.sec = $(date -d "@$(stat -c %Y .)" '+%a %b %e %T %Y')" ]; then
        echo "xfs_db of this version of xfsprogs writes other times: $said" >&2
        exit 1
    fi
)

# fill_mounted TREE FILE TYPE: lets the kernel fill a filesystem. The mount and its loop device are
# gone when the shell has ended, however it ends.
fill_mounted() {
    mkdir -p "$DARUMA/mounted"
    unshare --mount sh -e -c '
        mount -t "$3" -o loop "$2" "$4"
        { tar -c --xattrs --xattrs-include="*" --numeric-owner -C "$1" . ||
            touch "$4.failed"; } |
            tar -x -p --xattrs --xattrs-include="*.*" --numeric-owner -C "$4"
        umount "$4"
        [ ! -e "$4.failed" ]' sh "$1" "$2" "$3" "$DARUMA/mounted"
}

# with_block_device COMMAND...: runs a command that finds a loop device of the disk in $IMAGE.
with_block_device() {
    IMAGE=$(losetup --find --show --sector-size "$(cat "$DARUMA/loop")" "$IMAGE")
    export IMAGE
    code=0
    "$@" || code=$?
    losetup --detach "$IMAGE" || true
    return "$code"
}

# write_raw NUMBER FILE OFFSET ROOM: writes a file to the disk. Filesystems are written at the end,
# so what lies in one is kept and written again.
write_raw() {
    if [ ! -f "$2" ]; then
        echo "$2 is not a file" >&2
        return 1
    fi
    size=$(stat -L -c %s "$2")
    if [ "$size" -gt "$4" ]; then
        echo "$2 has $size bytes, and there is room for $4" >&2
        return 1
    fi
    dd if="$2" of="$IMAGE" bs=1M oflag=seek_bytes seek="$3" conv=notrunc status=none
    while read -r _ offset length when _; do
        if [ "$when" != now ] && [ "$3" -lt $((offset + length)) ] &&
            [ $(($3 + size)) -gt "$offset" ]; then
            cp -L "$2" "$DARUMA/raw-$1"
            echo "$1 $3" >>"$DARUMA/raws"
            break
        fi
    done <"$DARUMA/disk/layout"
}

# deploy ROOT FSTAB CMDLINE [APPEND]: from now on the root is what goes on the disk.
deploy() {
    root=$1
    if [ -d "$DARUMA/mnt" ]; then
        # Scripts may have written there. The root's own files come first.
        tar -c -C "$DARUMA/mnt" . | tar -x --skip-old-files -C "$root"
        rm -rf "$DARUMA/mnt"
    fi
    while read -r _ _ _ when at; do
        [ "$when" = now ] || mkdir -p "$(inside "$root" "$at")"
    done <"$DARUMA/disk/layout"
    if [ "$2" = true ]; then
        mkdir -p "$root/etc"
        rm -f "$root/etc/fstab"
        cp "$DARUMA/disk/fstab" "$root/etc/fstab"
        chmod 644 "$root/etc/fstab"
    fi
    if [ "$3" = true ]; then
        mkdir -p "$root/etc/kernel"
        file=$(inside "$root" /etc/kernel/cmdline)
        now=$(cat "$file" 2>/dev/null || true)
        printf '%s %s %s\n' "$now" "$(cat "$DARUMA/disk/root")" "${4-}" >"$file"
    fi
    touch "$DARUMA/deployed"
}

# For a shell in a mount namespace of its own, with the root, $DARUMA and a command: GRUB's programs
# that want the disk are grub.sh.
STAND_IN='
    root=$1 daruma=$2
    shift 2
    mkdir -p "$root/dev/disk"
    mount --bind "$daruma/by" "$root/dev/disk"
    for program in usr/sbin/grub-install usr/sbin/grub-probe usr/bin/grub-mkrelpath; do
        [ ! -e "$root/$program" ] || mount --bind "$daruma/disk/grub.sh" "$root/$program"
    done
    exec "$@"'

# enter ROOT COMMAND...: runs a command in the root, after filesystem-deploy with the stand-in.
enter() {
    if [ -e "$DARUMA/deployed" ]; then
        # GRUB's settings come from grub-pc or grub-efi-amd64. A recipe may install neither.
        if [ -e "$1/usr/share/grub/default/grub" ] && [ ! -e "$1/etc/default/grub" ]; then
            cp -p "$1/usr/share/grub/default/grub" "$1/etc/default/grub"
        fi
        with_environment unshare --mount sh -e -c "$STAND_IN" sh "$1" "$DARUMA" chroot "$@"
    else
        with_environment chroot "$@"
    fi
}

# finish_disk ROOT: fills the filesystems that have a mountpoint.
finish_disk() {
    code=0
    sh -e -c '. "$DARUMA"/hooks.sh; assemble "$1"' sh "$1" || code=$?
    rm -rf "$DARUMA/tree" "$DARUMA/parts" "$DARUMA/mnt"
    rmdir "$1/dev/disk" 2>/dev/null || true
    return "$code"
}

# list_packages TREE: keeps dpkg's list and the licences, which the list of the disk's packages is
# made from.
list_packages() (
    cd "$1"
    find etc/os-release usr/lib/os-release var/lib/dpkg/status usr/share/doc \
        ! -type d \( ! -path 'usr/share/doc/*' -o -type l -o -name copyright \) 2>/dev/null |
        LC_ALL=C sort | tar -c --no-recursion --files-from=- >"$DARUMA/packages.tar" || true
)

assemble() {
    mkdir "$DARUMA/parts"
    if [ -e "$DARUMA/deployed" ]; then
        mkdir "$DARUMA/tree"
        tidy "$1"
        {
            unshare --mount sh -e -c '. "$DARUMA"/hooks.sh; write_tar "$1" "$1"' sh "$1" ||
                touch "$DARUMA/not-read"
        } | tar -x -p --xattrs --xattrs-include='*.*' --numeric-owner -C "$DARUMA/tree"
        untidy "$1"
        [ ! -e "$DARUMA/not-read" ] || return 1
    elif [ -d "$DARUMA/mnt" ]; then
        mv "$DARUMA/mnt" "$DARUMA/tree"
    else
        return 0
    fi
    list_packages "$DARUMA/tree"
    while read -r number _ _ when at; do
        case $when-$at in now-* | *-/) continue ;; esac
        folder=$(inside "$DARUMA/tree" "$at")
        mkdir -p "$folder"
        mv "$folder" "$DARUMA/parts/$number"
        [ "$when" = build ] || mkdir "$folder"
    done <"$DARUMA/disk/layout"
    find "$DARUMA/tree" "$DARUMA/parts" -newermt "@$SOURCE_DATE_EPOCH" \
        -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    while read -r number offset length when at; do
        case $when-$at in
            now-*) continue ;;
            *-/) fill "$number" "$offset" "$length" "$DARUMA/tree" ;;
            *) fill "$number" "$offset" "$length" "$DARUMA/parts/$number" ;;
        esac
    done <"$DARUMA/disk/layout"
    [ -e "$DARUMA/raws" ] || return 0
    while read -r number offset; do
        dd if="$DARUMA/raw-$number" of="$IMAGE" bs=1M oflag=seek_bytes seek="$offset" \
            conv=notrunc status=none
    done <"$DARUMA/raws"
}
