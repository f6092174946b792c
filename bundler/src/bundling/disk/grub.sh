#!/bin/sh
# Stands for grub-install, grub-probe and grub-mkrelpath in a root whose disk is still a tree.
# disk.sh puts it over them while an action runs. GRUB's own programs would look for block devices.
#
# grub-install for UEFI writes its files at once, because the EFI system partition is a folder of
# the tree. For BIOS it leaves boot.img and core.img beside the table, and the bundler puts them
# into the disk at the end. GRUB's images come from the root, so from the recipe's suite.
set -eu
umask 022
here=/dev/disk/daruma
name=${0##*/}
. "$here/facts"

die() {
    echo "$name: $*" >&2
    exit 1
}

# find_path PATH: sets number, uuid, id, fs and at of the filesystem with the path.
find_path() {
    path=$(realpath -m "$1") at=
    while read -r n u i f m; do
        case $path/ in
            "${m%/}"/*) [ "${#m}" -lt "${#at}" ] || number=$n uuid=$u id=$i fs=$f at=$m ;;
        esac
    done <"$here/mounts"
    [ -n "$at" ] || die "the disk has no mountpoint for $1"
}

# find_device DEVICE: the same for what --target=device prints.
find_device() {
    at=
    while read -r n u i f m; do
        [ "$u" != "${1##*/}" ] || number=$n uuid=$u id=$i fs=$f at=$m
    done <"$here/mounts"
    [ -n "$at" ] || die "$1 is not of this disk"
}

# below_mount: prints $path as its filesystem has it.
below_mount() {
    [ "$at" = / ] && printf '%s' "$path" || printf '%s' "${path#"$at"}"
}

probe() {
    target=fs is_device=false names=
    while [ "$#" -gt 0 ]; do
        case $1 in
            -t | --target) target=$2 && shift ;;
            --target=*) target=${1#*=} ;;
            -d | --device) is_device=true ;;
            -m | --device-map) shift ;;
            -0 | -v | --verbose | --device-map=*) ;;
            -*) die "the option $1 is not known to this stand-in" ;;
            *) names="$names $1" ;;
        esac
        shift
    done
    for one in $names; do
        if "$is_device"; then find_device "$one"; else find_path "$one"; fi
        case $target in
            device) echo "/dev/disk/by-uuid/$uuid" ;;
            fs) echo "$fs" ;;
            fs_uuid) echo "$uuid" ;;
            partuuid) [ "$id" = - ] || echo "$id" ;;
            partmap) echo "$TABLE" ;;
            drive) echo "(hd0,$TABLE$number)" ;;
            compatibility_hint) echo "hd0,$TABLE$number" ;;
            abstraction | hints_string | bios_hints | efi_hints | cryptodisk_uuid | fs_label) ;;
            *) die "--target=$target is not known to this stand-in" ;;
        esac
    done
}

install() {
    target= boot=/boot efi= loader= removable=false extra=false device= secure=true more=
    while [ "$#" -gt 0 ]; do
        case $1 in
            --target | --boot-directory | --efi-directory | --bootloader-id | --modules)
                [ "$#" -gt 1 ] || die "the option $1 needs a value"
                option=$1=$2
                shift 2
                set -- "$option" "$@"
                ;;
        esac
        case $1 in
            --target=*) target=${1#*=} ;;
            --boot-directory=*) boot=${1#*=} ;;
            --root-directory=*) boot=${1#*=}/boot ;;
            --efi-directory=*) efi=${1#*=} ;;
            --bootloader-id=*) loader=${1#*=} ;;
            --modules=*) more=${1#*=} ;;
            --removable) removable=true ;;
            --force-extra-removable) extra=true ;;
            --no-uefi-secure-boot) secure=false ;;
            --uefi-secure-boot | --no-nvram | --recheck | --force | --no-floppy) ;;
            --skip-fs-probe | --no-rs-codes | --verbose | -v | -f | -s) ;;
            -*) die "the option $1 is not known to this stand-in" ;;
            *) device=$1 ;;
        esac
        shift
    done
    if [ -z "$target" ]; then
        target=x86_64-efi
        [ ! -e /usr/lib/grub/i386-pc/modinfo.sh ] || target=i386-pc
    fi
    from=/usr/lib/grub/$target
    [ -e "$from/modinfo.sh" ] || die "$from/modinfo.sh doesn't exist; install GRUB for $target"
    find_path "$boot"
    prefix="(,$TABLE$number)$(below_mount)/grub"
    modules="part_$TABLE $fs $more"
    mkdir -p "$boot/grub/$target" "$boot/grub/fonts"
    cp "$from"/*.mod "$from"/*.lst "$boot/grub/$target/"
    [ ! -e /usr/share/grub/unicode.pf2 ] || cp /usr/share/grub/unicode.pf2 "$boot/grub/fonts/"
    [ -e "$boot/grub/grubenv" ] || grub-editenv "$boot/grub/grubenv" create
    case $target in
        i386-pc) install_bios ;;
        *-efi) install_efi ;;
        *) die "the target $target is not known to this stand-in" ;;
    esac
    echo "Installation finished. No error reported." >&2
}

install_bios() {
    [ -n "$device" ] || die "install device isn't specified"
    [ "$SECTOR" = 512 ] || die "GRUB for BIOS needs sectors of 512 bytes, and the disk has $SECTOR"
    grub-mkimage -O i386-pc -d "$from" -p "$prefix" -o "$boot/grub/i386-pc/core.img" \
        biosdisk $modules
    sectors=$((($(stat -c %s "$boot/grub/i386-pc/core.img") + 511) / 512))
    if [ "$ROOM" = 0 ] && [ "$TABLE" = gpt ]; then
        die "the gpt has no place for GRUB's core image; add a partition of 1MiB with" \
            "fs: none and flags: [bios_grub]"
    fi
    [ "$sectors" -le "$ROOM" ] ||
        die "GRUB's core image has $sectors sectors, and there is room for $ROOM; begin the first" \
            "partition later"
    cp "$from/boot.img" "$boot/grub/i386-pc/boot.img"
    cp "$from/boot.img" "$boot/grub/i386-pc/core.img" "$here/"
}

install_efi() {
    if [ -z "$efi" ]; then
        efi=/boot/efi
        [ -d "$efi" ] || efi=/efi
    fi
    case $target in
        x86_64-efi) short=x64 ;;
        i386-efi) short=ia32 ;;
        arm64-efi) short=aa64 ;;
        arm-efi) short=arm ;;
        *) die "the target $target is not known to this stand-in" ;;
    esac
    root_uuid=$uuid
    find_path "$efi"
    [ "$fs" = fat ] || die "$efi doesn't look like an EFI partition; it is $fs"
    core=$boot/grub/$target/core.efi
    grub-mkimage -O "$target" -d "$from" -p "$prefix" -o "$core" $modules
    upper=$(echo "$short" | tr '[:lower:]' '[:upper:]')
    if [ -z "$loader" ]; then
        # A shell ends at a `.` without a file.
        loader=$(
            [ ! -r /etc/default/grub ] || . /etc/default/grub
            echo "${GRUB_DISTRIBUTOR-}"
        ) || loader=
        loader=$(echo "${loader:-debian}" | cut -d ' ' -f 1 | tr '[:upper:]' '[:lower:]')
    fi
    signed=/usr/lib/grub/$target-signed/grub$short.efi.signed
    shim=/usr/lib/shim/shim$short.efi.signed
    if "$secure" && [ -e "$signed" ] && [ -e "$shim" ]; then
        # The signed image has its prefix built in: /EFI/debian. A file there leads to the root.
        mkdir -p "$efi/EFI/debian"
        printf "search.fs_uuid %s root\nset prefix=(\$root)'%s'\nconfigfile \$prefix/grub.cfg\n" \
            "$root_uuid" "${prefix#*)}" >"$efi/EFI/debian/grub.cfg"
    else
        signed=$core shim=
    fi
    "$removable" || put "$efi/EFI/$loader" "shim$short.efi"
    if "$removable" || "$extra"; then put "$efi/EFI/BOOT" "BOOT$upper.EFI"; fi
}

# put FOLDER FIRST: the first program of the firmware, and what it starts.
put() {
    mkdir -p "$1"
    if [ -n "$shim" ]; then
        cp "$shim" "$1/$2"
        cp "$signed" "$1/grub$short.efi"
        [ ! -e "/usr/lib/shim/mm$short.efi.signed" ] ||
            cp "/usr/lib/shim/mm$short.efi.signed" "$1/mm$short.efi"
    elif [ "${1##*/}" = BOOT ]; then
        cp "$signed" "$1/$2"
    else
        cp "$signed" "$1/grub$short.efi"
    fi
}

case $name in
    grub-install) install "$@" ;;
    grub-probe) probe "$@" ;;
    grub-mkrelpath)
        while [ "$#" -gt 1 ]; do shift; done
        find_path "$1"
        below_mount
        echo
        ;;
esac
