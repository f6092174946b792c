//! Programs and crates that know nothing of this one read the factory image back.
// clippy.toml allows `unwrap` in tests, but clippy does not see that the tests' helpers are tests
// too.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use image_layout::{
    FactoryImage, FileDisk, ImageError, Layout, PartitionTable, convert_to_qcow2, label,
};

const MIB: u64 = 1 << 20;
const LAYOUT: Layout =
    Layout { esp: 36 * MIB, boot: MIB, root: 2 * MIB, recovery: MIB, var: 16 * MIB };
const MODULES_BIOS: &[&str] =
    &["biosdisk", "part_gpt", "fat", "normal", "configfile", "echo", "sleep", "reboot"];
const MODULES_EFI: &[&str] =
    &["part_gpt", "fat", "normal", "configfile", "echo", "sleep", "reboot"];
const GRUB_CFG: &[u8] = b"echo hello\n";

/// Returns content that is not zero, not periodic in a block, and tells where it was put.
fn content(name: &str, length: usize) -> Vec<u8> {
    (0_u32..).flat_map(|n| format!("{name} {n}\n").into_bytes()).take(length).collect()
}

/// The three images, in a folder of their own.
struct Inputs {
    folder: tempfile::TempDir,
}

impl Inputs {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("boot.img"), content("boot", 300_000)).unwrap();
        // The image has a hole between two pieces of data, as a padded image has.
        let mut root = content("root", MIB as usize);
        root[300_000..900_000].fill(0);
        fs::write(folder.path().join("root.img"), root).unwrap();
        fs::write(folder.path().join("recovery.img"), content("recovery", MIB as usize)).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn build(&self, out: &Path) -> Result<(), ImageError> {
        self.build_with(|_| {}, out)
    }

    fn build_with(
        &self,
        change: impl FnOnce(&mut FactoryImage<'_>),
        out: &Path,
    ) -> Result<(), ImageError> {
        let (boot, root, recovery) =
            (self.path("boot.img"), self.path("root.img"), self.path("recovery.img"));
        let mut image = FactoryImage {
            layout: LAYOUT,
            boot: &boot,
            root: &root,
            recovery: &recovery,
            esp_folders: &[],
            esp_files: &[
                ("grub/grub.cfg", GRUB_CFG),
                ("grub/grubenv", &[b'#'; 1024]),
                ("grub/grubenv.bak", &[b'#'; 1024]),
            ],
            grub: None,
            early_grub_cfg: None,
            grub_modules_bios: MODULES_BIOS,
            grub_modules_efi: MODULES_EFI,
            seed: "router 1.0.0",
            epoch: 1_700_000_000,
        };
        change(&mut image);
        image.write_raw(out)
    }
}

/// Returns `length` bytes of the file from `offset`.
fn piece(path: &Path, offset: u64, length: u64) -> Vec<u8> {
    let mut file = File::open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes).unwrap();
    bytes
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Returns the standard output of a program that must succeed. The program may lie where only
/// root's PATH leads.
fn output(program: &str, args: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output = Command::new(program).args(args).env("PATH", path).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; run tests/setup"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn another_gpt_reader_sees_the_same_partitions_types_and_flags() {
    let inputs = Inputs::new();
    let raw = inputs.path("disk.raw");
    inputs.build(&raw).unwrap();

    let disk = gpt::GptConfig::new().writable(false).open(&raw).unwrap();
    assert_eq!(disk.primary_header().unwrap().backup_lba * 512 + 512, LAYOUT.disk_size());
    assert_eq!(
        disk.backup_header().unwrap().current_lba,
        disk.primary_header().unwrap().backup_lba
    );
    let table = PartitionTable::read(&FileDisk::open_read_only(&raw).unwrap()).unwrap();
    assert_eq!(*disk.guid(), table.disk_guid);
    assert_eq!(disk.partitions().len(), 8);
    for (theirs, (ours, extent)) in
        disk.partitions().iter().zip(table.partitions.iter().zip(LAYOUT.extents()))
    {
        let (&number, theirs) = theirs;
        assert_eq!((number, theirs.name.as_str()), (ours.number, ours.label.as_str()));
        assert_eq!(
            (theirs.first_lba * 512, (theirs.last_lba - theirs.first_lba + 1) * 512),
            (ours.offset, ours.size)
        );
        assert_eq!((theirs.part_guid, theirs.flags), (ours.guid, ours.attributes));
        assert_eq!(theirs.part_type_guid.guid, ours.type_guid);
        assert_eq!(
            (ours.label.as_str(), ours.offset, ours.size),
            (extent.label, extent.offset, extent.size)
        );
    }
    let no_auto = |label| table.find(label).unwrap().attributes >> 63 == 1;
    assert!(["boot-a", "root-a", "boot-b", "root-b", "recovery", "var"].into_iter().all(no_auto));
    assert_eq!(Layout::of(&table), Some(LAYOUT));
}

#[test]
fn each_image_lies_in_its_partition_and_slot_b_is_empty() {
    let inputs = Inputs::new();
    let raw = inputs.path("disk.raw");
    inputs.build(&raw).unwrap();
    let table = PartitionTable::read(&FileDisk::open_read_only(&raw).unwrap()).unwrap();
    for (label, image) in
        [("boot-a", "boot.img"), ("root-a", "root.img"), (label::RECOVERY, "recovery.img")]
    {
        let partition = table.find(label).unwrap();
        let mut expected = fs::read(inputs.path(image)).unwrap();
        expected.resize(partition.size as usize, 0);
        assert!(
            piece(&raw, partition.offset, partition.size) == expected,
            "{label} differs from {image}"
        );
    }
    for label in ["boot-b", "root-b"] {
        let partition = table.find(label).unwrap();
        assert!(
            piece(&raw, partition.offset, partition.size) == vec![0; partition.size as usize],
            "{label}"
        );
    }
    // blocks() is in units of 512 bytes. The file must not take the room of its empty partitions.
    assert!(fs::metadata(&raw).unwrap().blocks() * 512 < LAYOUT.disk_size() / 2);
}

#[test]
fn mtools_reads_the_files_of_the_esp() {
    let inputs = Inputs::new();
    let raw = inputs.path("disk.raw");
    inputs.build(&raw).unwrap();
    let at = format!("{}@@{}", raw.display(), LAYOUT.extents()[1].offset);
    assert_eq!(output("mtype", &["-i", &at, "::grub/grub.cfg"]).as_bytes(), GRUB_CFG);
    assert_eq!(output("mtype", &["-i", &at, "::grub/grubenv.bak"]), "#".repeat(1024));
    let efi = inputs.path("bootx64.efi");
    output("mcopy", &["-i", &at, "::EFI/BOOT/BOOTX64.EFI", efi.to_str().unwrap()]);
    assert_eq!(&fs::read(efi).unwrap()[..2], b"MZ");
    assert!(output("minfo", &["-i", &at]).contains("disk type=\"FAT32"));
}

#[test]
fn fsck_finds_nothing_to_say_about_the_esp_and_var() {
    let inputs = Inputs::new();
    let raw = inputs.path("disk.raw");
    inputs.build(&raw).unwrap();
    let extents = LAYOUT.extents();
    for (extent, program, arguments) in
        [(extents[1], "fsck.fat", "-vn"), (extents[7], "e2fsck", "-fn")]
    {
        let file = inputs.path(extent.label);
        fs::write(&file, piece(&raw, extent.offset, extent.size)).unwrap();
        output(program, &[arguments, file.to_str().unwrap()]);
    }
    let var = inputs.path("var");
    let facts = output("dumpe2fs", &["-h", var.to_str().unwrap()]);
    assert!(facts.contains("Filesystem volume name:   var\n"), "{facts}");
    assert!(
        facts.contains(&format!("Block count:              {}\n", LAYOUT.var / 4096)),
        "{facts}"
    );
}

#[test]
fn the_boot_code_points_at_the_core_image_and_the_core_image_at_its_rest() {
    let inputs = Inputs::new();
    let raw = inputs.path("disk.raw");
    inputs.build(&raw).unwrap();
    let mbr = piece(&raw, 0, 512);
    let u64_at =
        |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let core = u64_at(&mbr, 0x5c);
    assert_eq!(core * 512, LAYOUT.extents()[0].offset);
    let first = piece(&raw, core * 512, 512);
    assert_eq!(u64_at(&first, 500), core + 1);
    let sectors = u64::from(u16::from_le_bytes([first[508], first[509]]));
    let rest = piece(&raw, (core + 1) * 512, sectors * 512);
    assert!(
        rest[rest.len() - 512..].iter().any(|&byte| byte != 0),
        "the last sector is part of the image"
    );
    assert!(
        piece(&raw, (core + 1 + sectors) * 512, 512).iter().all(|&byte| byte == 0),
        "nothing comes after it"
    );
    assert_eq!((mbr[450], &mbr[510..]), (0xee, &[0x55, 0xaa][..]));
}

#[test]
fn the_same_inputs_give_the_same_bytes_in_another_folder_and_another_year() {
    const OUT: &str = "DARUMA_TEST_OUT";
    if let Some(out) = std::env::var_os(OUT) {
        // This is the second process, in another year.
        return Inputs::new().build(Path::new(&out)).unwrap();
    }
    let here = Inputs::new();
    let raw = here.path("disk.raw");
    here.build(&raw).unwrap();
    let there = tempfile::tempdir().unwrap();
    let other = there.path().join("another name.img");
    let this = std::env::current_exe().unwrap();
    let name = "the_same_inputs_give_the_same_bytes_in_another_folder_and_another_year";
    let status = Command::new("faketime")
        .args(["2036-02-29 12:00:00", this.to_str().unwrap(), "--exact", name])
        .env(OUT, &other)
        .env("TZ", "Pacific/Kiritimati")
        .status();
    assert!(status.expect("faketime; run tests/setup").success());
    assert_same(&raw, &other);

    convert_to_qcow2(&raw, &here.path("disk.qcow2")).unwrap();
    // The second source has no holes. What qemu-img finds must not depend on how the file is
    // stored.
    let whole = there.path().join("whole");
    fs::write(&whole, fs::read(&other).unwrap()).unwrap();
    convert_to_qcow2(&whole, &there.path().join("x.qcow2")).unwrap();
    assert_same(&here.path("disk.qcow2"), &there.path().join("x.qcow2"));
}

fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (fs::read(left).unwrap(), fs::read(right).unwrap());
    assert_eq!(left.len(), right.len());
    if left == right {
        return;
    }
    let first = left.iter().zip(&right).position(|(left, right)| left != right);
    assert_eq!(first, None, "first byte that differs");
}

#[test]
fn another_seed_gives_other_guids() {
    let inputs = Inputs::new();
    let raw = inputs.path("disk.raw");
    let mut guids = Vec::new();
    for seed in ["router 1.0.0", "router 1.0.1"] {
        inputs.build_with(|image| image.seed = seed, &raw).unwrap();
        let table = PartitionTable::read(&FileDisk::open_read_only(&raw).unwrap()).unwrap();
        guids.push(table.disk_guid);
        guids.extend(table.partitions.iter().map(|partition| partition.guid));
    }
    assert!(guids.iter().all(|guid| guid.get_version_num() == 5));
    guids.sort();
    guids.dedup();
    assert_eq!(guids.len(), 18, "all differ");
}

#[test]
fn an_image_too_large_is_refused_with_path_size_and_partition() {
    let inputs = Inputs::new();
    File::options()
        .write(true)
        .open(inputs.path("root.img"))
        .unwrap()
        .set_len(LAYOUT.root + 1)
        .unwrap();
    let error = inputs.build(&inputs.path("disk.raw")).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ImageError::TooLarge { label: "root-a", .. }), "{text}");
    for part in [inputs.path("root.img").to_str().unwrap(), "2097153", "root-a", "2097152"] {
        assert!(text.contains(part), "{part} in: {text}");
    }
    assert!(!text.contains('\n'));
}

#[test]
fn a_failure_leaves_the_old_image_and_nothing_else() {
    let inputs = Inputs::new();
    fs::create_dir(inputs.path("out")).unwrap();
    let out = inputs.path("out/disk.raw");
    fs::write(&out, "the old image").unwrap();
    let error =
        inputs.build_with(|image| image.grub_modules_bios = &["no-such-module"], &out).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, ImageError::ToolFailed { .. }) && text.contains("no-such-module"),
        "{text}"
    );
    assert!(!text.contains('\n'), "{text}");
    assert_eq!(names_in(&inputs.path("out")), ["disk.raw"]);
    assert_eq!(fs::read(&out).unwrap(), b"the old image");

    inputs.build(&out).unwrap();
    assert_eq!(names_in(&inputs.path("out")), ["disk.raw"]);
    assert_eq!(fs::metadata(&out).unwrap().len(), LAYOUT.disk_size());
}

#[test]
fn a_device_node_or_a_folder_is_not_replaced_by_an_image() {
    let inputs = Inputs::new();
    for out in [Path::new("/dev/null"), inputs.folder.path()] {
        let text = inputs.build(out).unwrap_err().to_string();
        assert!(
            text.contains("not a plain file") && text.contains(out.to_str().unwrap()),
            "{text}"
        );
    }
}

#[test]
fn a_missing_input_and_a_bad_size_are_named_before_any_tool_runs() {
    let inputs = Inputs::new();
    let out = inputs.path("disk.raw");
    let error = inputs.build_with(|image| image.layout.esp = 5 * MIB, &out).unwrap_err();
    assert!(matches!(error, ImageError::Layout(_)), "{error}");
    fs::remove_file(inputs.path("boot.img")).unwrap();
    let text = inputs.build(&out).unwrap_err().to_string();
    assert!(text.contains("boot.img") && text.contains("No such file"), "{text}");
}

#[test]
fn a_qcow2_holds_the_same_disk() {
    let inputs = Inputs::new();
    let (raw, qcow2, back) =
        (inputs.path("disk.raw"), inputs.path("disk.qcow2"), inputs.path("back.raw"));
    inputs.build(&raw).unwrap();
    convert_to_qcow2(&raw, &qcow2).unwrap();
    let mut magic = [0; 8];
    Cursor::new(fs::read(&qcow2).unwrap()).read_exact(&mut magic).unwrap();
    assert_eq!(magic, *b"QFI\xfb\0\0\0\x03");
    output("qemu-img", &["convert", "-O", "raw", qcow2.to_str().unwrap(), back.to_str().unwrap()]);
    assert_same(&raw, &back);
    assert!(
        convert_to_qcow2(&inputs.path("none.raw"), &qcow2)
            .unwrap_err()
            .to_string()
            .contains("none.raw")
    );
}

#[test]
fn grub_is_that_of_the_root_that_is_named_and_never_the_hosts() {
    let inputs = Inputs::new();
    fs::create_dir(inputs.path("out")).unwrap();
    let out = inputs.path("out/disk");
    let error = inputs.build_with(|image| image.grub = Some(Path::new("/nowhere")), &out);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("/nowhere/usr/lib/grub/i386-pc/boot.img"), "{text}");
    assert!(names_in(&inputs.path("out")).is_empty());
}

#[test]
fn a_missing_host_tool_is_one_line_that_names_debians_package() {
    const BARE: &str = "DARUMA_TEST_BARE";
    if std::env::var_os(BARE).is_some() {
        // This is the second process, and its PATH leads nowhere.
        let inputs = Inputs::new();
        fs::create_dir(inputs.path("out")).unwrap();
        let out = inputs.path("out/disk");
        for (error, tool, package) in [
            (inputs.build(&out).unwrap_err(), "grub-mkimage", "grub-common"),
            (
                convert_to_qcow2(&inputs.path("boot.img"), &out).unwrap_err(),
                "qemu-img",
                "qemu-utils",
            ),
        ] {
            let text = error.to_string();
            assert!(matches!(error, ImageError::MissingTool { .. }), "{text}");
            assert!(
                text.contains(tool)
                    && text.ends_with(&format!("install Debian's package {package}")),
                "{text}"
            );
        }
        assert!(names_in(&inputs.path("out")).is_empty());
        return;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_missing_host_tool_is_one_line_that_names_debians_package"])
        .env(BARE, "1")
        .env("PATH", "/nowhere")
        .status();
    assert!(status.unwrap().success());
}
