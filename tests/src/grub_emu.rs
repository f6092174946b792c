//! Runs the real `grub.cfg` under Debian's `grub-emu`, with many states of the environment in one
//! start.
//!
//! The tests make the states and judge what GRUB did.
//!
//! `grub-emu` is GRUB built as a program. It has the same script interpreter, `load_env`,
//! `save_env`, FAT, SquashFS and hashes, but works on disk images. It cannot start a kernel, and
//! each state that ends in a kernel would need a start of its own. So six words of `grub.cfg` are
//! replaced ([`REPLACED`]). The commands that load, boot, wait and restart become functions. These
//! print their arguments, and fail if the file does not exist. (In GRUB 2.06, grub-emu has no
//! `linux`, so a function of that name would be enough. In 2.12 it has one, which uses the host's
//! files.) All other bytes are those of the file that ships.
//!
//! Every state has an EFI system partition of its own: a GPT has room for 125 of them next to the
//! three boot images. `grub.cfg` takes its partition from `root`.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// GPT numbers of boot-a, boot-b and recovery.
pub(crate) const BOOT_IMAGES: [usize; 3] = [3, 5, 7];
/// Size of every partition of the test disk, in bytes.
pub const PARTITION: usize = 64 << 10;
const FIRST_BYTE: usize = 1 << 20;
pub(crate) const PARTITIONS: usize = 128;

/// One copy of the environment on the partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EnvFile {
    /// The file has no directory entry.
    Missing,
    /// The file has these bytes, at most 1,024.
    Bytes(Vec<u8>),
}

/// Both copies of the environment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvFiles {
    /// `grub/grubenv`
    pub main: EnvFile,
    /// `grub/grubenv.bak`
    pub bak: EnvFile,
}

/// What `grub.cfg` did with one state.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Kernel and command line of the system that was started, if one was.
    pub command_line: Option<Vec<String>>,
    /// Both copies after the boot.
    pub files: EnvFiles,
    /// Everything that GRUB printed.
    pub screen: String,
    /// GUID of the EFI system partition that GRUB was started from, as in the partition table.
    pub esp_guid: String,
    /// True if GRUB loaded the recovery archive behind the initramfs.
    pub with_archive: bool,
}

impl Outcome {
    /// Returns the value of `daruma.slot` on the command line: `A`, `B` or `recovery`.
    #[must_use]
    pub fn slot(&self) -> Option<&str> {
        self.argument("daruma.slot")
    }

    /// Returns the value of an argument of the kernel command line.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.command_line
            .as_ref()?
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

/// The content of a boot partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootImage {
    /// A boot image that loads.
    Good,
    /// A boot image whose kernel is not the one that was hashed.
    CorruptKernel,
    /// A boot image without the initramfs. Its hashes are right, and GRUB reads its `slot.cfg`.
    NoInitrd,
    /// A boot image that starts a slot. Its recovery archive is not the one that was hashed.
    CorruptArchive,
    /// An empty partition.
    Empty,
}

/// A disk with boot images and up to [`Machine::STATES`] EFI system partitions.
#[derive(Debug)]
pub struct Machine {
    dir: TempDir,
    disk: File,
    esp: Vec<u8>,
}

/// Makes `disk.img` in `dir`, with a GPT of all [`PARTITIONS`]. `grub-emu` takes it for the
/// machine's disk.
pub(crate) fn partitioned_disk(dir: &Path) -> Result<(PathBuf, File)> {
    let path = dir.join("disk.img");
    let disk = File::options().read(true).write(true).create_new(true).open(&path)?;
    disk.set_len((2 * FIRST_BYTE + PARTITIONS * PARTITION) as u64)?;
    let mut table = String::from("label: gpt\nfirst-lba: 64\n");
    for number in 1..=PARTITIONS {
        let (start, size) = (offset(number) / 512, PARTITION / 512);
        table += &format!("{number}: start={start}, size={size}, uuid={}\n", guid(number));
    }
    let table_path = dir.join("table");
    fs::write(&table_path, table)?;
    let mut sfdisk = Command::new("sfdisk");
    sfdisk
        .args(["-q", "--no-reread", "--no-tell-kernel"])
        .arg(&path)
        .stdin(File::open(table_path)?);
    run(&mut sfdisk)?;
    Ok((path, disk))
}

/// Returns the GUID of the partition with this number.
fn guid(number: usize) -> String {
    format!("da12da12-0000-4000-8000-{number:012}")
}

impl Machine {
    /// The number of states that one start of `grub-emu` can try.
    pub const STATES: usize = PARTITIONS - BOOT_IMAGES.len();

    /// Makes the disk with `[boot-a, boot-b, recovery]`, and with `grub_cfg` on every EFI system
    /// partition.
    pub fn new(grub_cfg: &str, images: [BootImage; 3]) -> Result<Self> {
        // grub-emu opens the disk O_SYNC, which costs nothing in memory.
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new())?;
        let (disk_path, disk) = partitioned_disk(dir.path())?;
        for (number, (name, image)) in
            BOOT_IMAGES.into_iter().zip(["A", "B", "recovery"].into_iter().zip(images))
        {
            disk.write_all_at(&boot_image(dir.path(), name, image)?, offset(number) as u64)?;
        }
        let esp = esp_template(dir.path(), &replace_words(grub_cfg)?)?;
        fs::create_dir(dir.path().join("emu"))?;
        fs::write(dir.path().join("device.map"), format!("(hd0) {}\n", disk_path.display()))?;
        Ok(Self { dir, disk, esp })
    }

    /// Boots once from each of `states`.
    pub fn boot(&self, states: &[EnvFiles]) -> Result<Vec<Outcome>> {
        self.boot_at(states, None)
    }

    /// As [`Machine::boot`], with a clock that stands at this minute of an hour.
    pub fn boot_at(&self, states: &[EnvFiles], minute: Option<u8>) -> Result<Vec<Outcome>> {
        ensure!(states.len() <= Self::STATES, "at most {} states at once", Self::STATES);
        let numbers = || (1..=PARTITIONS).filter(|number| !BOOT_IMAGES.contains(number));
        let mut script = String::from(DRIVER);
        for (number, state) in numbers().zip(states) {
            let mut esp = self.esp.clone();
            put(&mut esp, b"GRUBENV    ", &state.main)?;
            put(&mut esp, b"GRUBENV BAK", &state.bak)?;
            self.disk.write_all_at(&esp, offset(number) as u64)?;
            script += &format!(
                "echo '@state'\nset root=hd0,gpt{number}\nconfigfile \
                    (hd0,gpt{number})/grub/grub.cfg\n"
            );
        }
        script += "echo '@state'\nexit\n";
        let emu_dir = self.dir.path().join("emu");
        fs::write(emu_dir.join("grub.cfg"), script)?;
        let screen = self.run_emu(&emu_dir, minute)?;
        let screens: Vec<_> = screen.split("@state").collect();
        ensure!(
            screens.len() == states.len() + 2,
            "grub-emu stopped early; its last words: {}",
            tail(&screen)
        );
        let mut outcomes = Vec::with_capacity(states.len());
        for (number, screen) in numbers().zip(&screens[1..=states.len()]) {
            let mut esp = vec![0; PARTITION];
            self.disk.read_exact_at(&mut esp, offset(number) as u64)?;
            let files =
                EnvFiles { main: take(&esp, b"GRUBENV    ")?, bak: take(&esp, b"GRUBENV BAK")? };
            let command_line = started(screen);
            let with_archive = screen
                .rsplit_once("@linux")
                .is_some_and(|(_, started)| started.contains("@archive"));
            let (screen, esp_guid) = ((*screen).to_owned(), guid(number));
            outcomes.push(Outcome { command_line, files, screen, esp_guid, with_archive });
        }
        Ok(outcomes)
    }

    fn run_emu(&self, emu_dir: &Path, minute: Option<u8>) -> Result<String> {
        emulate(&self.dir.path().join("device.map"), emu_dir, minute)
    }
}

fn emulate(device_map: &Path, emu_dir: &Path, minute: Option<u8>) -> Result<String> {
    let mut command = Command::new("grub-emu");
    if let Some(minute) = minute {
        command = Command::new("faketime");
        command.args(["-f", &format!("2026-01-01 12:{minute:02}:00"), "grub-emu"]);
    }
    command.arg("-m").arg(device_map).arg("-d").arg(emu_dir);
    let out = command.env("TERM", "dumb").stdin(Stdio::null()).output();
    let out = out.context("grub-emu does not start: install the packages grub-emu and faketime")?;
    let stderr = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "grub-emu failed: {}", tail(&stderr));
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Boots once from a whole disk, which GRUB changes. `dir` is an empty folder for this function's
/// use. Returns the kernel's command line, if a kernel was started, and the text that GRUB printed.
pub fn boot_disk(grub_cfg: &str, disk: &Path, dir: &Path) -> Result<(Option<Vec<String>>, String)> {
    let map = dir.join("device.map");
    fs::write(&map, format!("(hd0) {}\n", disk.display()))?;
    let grub_cfg = replace_words(grub_cfg)?;
    fs::write(dir.join("grub.cfg"), format!("{DRIVER}\nset root=hd0,gpt2\n{grub_cfg}\nexit\n"))?;
    let screen = emulate(&map, dir, None)?;
    Ok((started(&screen), screen))
}

/// Commands of `grub.cfg`, and the functions of [`DRIVER`] that replace them. Each occurs once.
const REPLACED: [(&str, &str); 6] = [
    ("if linux \"", "if emu_linux \""),
    ("if initrd \"", "if emu_initrd \""),
    ("\n    boot\n", "\n    emu_boot\n"),
    // Nobody presses a key.
    ("sleep --interruptible $daruma_wait", "emu_sleep"),
    ("\nsleep 3\n", "\nemu_sleep\n"),
    ("\nreboot\n", "\nemu_reboot\n"),
];

/// The script that replaces the machine around `grub.cfg`. It prints one argument a line, because
/// the terminal breaks long lines.
pub(crate) const DRIVER: &str = r#"
function emu_linux {
    if [ -f "$1" ]; then
        echo "@linux"
        for word in "$@"; do echo "@ $word"; done
        return 0
    fi
    return 1
}
function emu_initrd {
    if [ -f "$1" ]; then true; else return 1; fi
    if [ -n "$2" ]; then
        if [ -f "$2" ]; then echo "@archive"; else return 1; fi
    fi
    echo "@initrd"
    return 0
}
function emu_boot { echo "@boot"; }
function emu_sleep { true; }
function emu_reboot { true; }
set enable_progress_indicator=0
export enable_progress_indicator
"#;

pub(crate) fn replace_words(grub_cfg: &str) -> Result<String> {
    let mut text = grub_cfg.to_owned();
    for (word, function) in REPLACED {
        ensure!(text.matches(word).count() == 1, "{word:?} is not in grub.cfg exactly once");
        text = text.replace(word, function);
    }
    Ok(text)
}

/// Returns the arguments of the last `linux` that an `initrd` and `boot` followed.
pub(crate) fn started(screen: &str) -> Option<Vec<String>> {
    let (before, _) = screen.split_once("@boot")?.0.rsplit_once("@initrd")?;
    let (_, linux) = before.rsplit_once("@linux")?;
    Some(
        linux
            .lines()
            .filter_map(|line| line.trim().strip_prefix("@ "))
            .map(str::to_owned)
            .collect(),
    )
}

pub(crate) fn offset(number: usize) -> usize {
    FIRST_BYTE + (number - 1) * PARTITION
}

/// Returns a FAT12 with `grub.cfg` and two environment files of 1,024 bytes.
pub(crate) fn esp_template(dir: &Path, grub_cfg: &str) -> Result<Vec<u8>> {
    let image = dir.join("esp.img");
    let file = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
        let path = dir.join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    };
    file("esp.img", &[0; PARTITION])?;
    run(Command::new("mkfs.vfat")
        .args(["-F", "12", "-r", "16", "-s", "1", "-i", "da12da12"])
        .arg(&image))?;
    run(Command::new("mmd").arg("-i").arg(&image).arg("::GRUB"))?;
    let block = [b'#'; 1024];
    for (name, path) in [
        ("GRUB.CFG", file("cfg", grub_cfg.as_bytes())?),
        ("GRUBENV", file("env", &block)?),
        ("GRUBENV.BAK", file("bak", &block)?),
    ] {
        run(Command::new("mcopy").arg("-i").arg(&image).arg(path).arg(format!("::GRUB/{name}")))?;
    }
    Ok(fs::read(image)?)
}

/// Returns the offsets of a file's directory entry and data. The template's clusters have one
/// sector and follow each other.
fn locate(esp: &[u8], name: &[u8; 11]) -> Result<(usize, usize)> {
    let sector = |at: usize| usize::from(u16::from_le_bytes([esp[at], esp[at + 1]]));
    let data = (sector(14) + usize::from(esp[16]) * sector(22)) * 512 + sector(17) * 32;
    let entry = (0..esp.len())
        .step_by(32)
        .find(|&at| esp[at + 1..at + 11] == name[1..])
        .context("no such directory entry")?;
    let cluster = usize::from(esp[entry + 26]) + 256 * usize::from(esp[entry + 27]);
    // If the entry must say that there is no cluster, the unused field at 14 keeps the cluster.
    let kept = usize::from(esp[entry + 14]) + 256 * usize::from(esp[entry + 15]);
    let cluster = if cluster == 0 { kept } else { cluster };
    Ok((entry, data + (cluster - 2) * 512))
}

pub(crate) fn put(esp: &mut [u8], name: &[u8; 11], file: &EnvFile) -> Result<()> {
    let (entry, data) = locate(esp, name)?;
    match file {
        EnvFile::Missing => esp[entry] = 0xe5,
        EnvFile::Bytes(bytes) => {
            esp[data..data + bytes.len()].copy_from_slice(bytes);
            esp[entry + 28..entry + 32].copy_from_slice(&u32::try_from(bytes.len())?.to_le_bytes());
            if bytes.is_empty() {
                esp.copy_within(entry + 26..entry + 28, entry + 14);
                esp[entry + 26..entry + 28].fill(0);
            }
        }
    }
    Ok(())
}

fn take(esp: &[u8], name: &[u8; 11]) -> Result<EnvFile> {
    let (entry, data) = locate(esp, name)?;
    if esp[entry] == 0xe5 {
        return Ok(EnvFile::Missing);
    }
    let size =
        u32::from_le_bytes([esp[entry + 28], esp[entry + 29], esp[entry + 30], esp[entry + 31]]);
    Ok(EnvFile::Bytes(esp[data..data + size as usize].to_vec()))
}

/// Returns a boot image as the bundler makes it, as small as possible.
fn boot_image(dir: &Path, name: &str, image: BootImage) -> Result<Vec<u8>> {
    if image == BootImage::Empty {
        return Ok(vec![0; PARTITION]);
    }
    let tree = dir.join(format!("boot-{name}"));
    fs::create_dir(&tree)?;
    let mut sums = String::new();
    let files: &[&str] =
        if image == BootImage::NoInitrd { &["vmlinuz"] } else { &["vmlinuz", "initrd"] };
    for file in files {
        let content = format!("{file} of {name}\n").repeat(50);
        let sum: String =
            Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        sums += &format!("{sum}  {file}\n");
        fs::write(tree.join(file), &content)?;
    }
    if image == BootImage::CorruptKernel {
        fs::write(tree.join("vmlinuz"), "one bit is wrong")?;
    }
    fs::write(tree.join("SHA256SUMS"), sums)?;
    let archive = format!("recovery of {name}\n");
    let sum: String = Sha256::digest(&archive).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(tree.join("RECOVERY.SHA256SUMS"), format!("{sum}  recovery.img\n"))?;
    let bad = image == BootImage::CorruptArchive;
    fs::write(tree.join("recovery.img"), if bad { "one bit is wrong" } else { archive.as_str() })?;
    // Only A sets daruma_args. The tests then see a variable of A that leaks into B.
    let args = if name == "A" { "set daruma_args=\"quiet console=ttyS0\"\n" } else { "" };
    fs::write(
        tree.join("slot.cfg"),
        format!(
            "set daruma_compatible=router\nset daruma_version=1.0.0\nset \
                daruma_build=of-{name}\nset daruma_min_version=0.0.0\nset \
                daruma_verity=hash-{name}:salt:1\n{args}"
        ),
    )?;
    let squashfs = dir.join(format!("boot-{name}.squashfs"));
    run(Command::new("mksquashfs").args([&tree, &squashfs]).args([
        "-quiet",
        "-no-progress",
        "-noD",
        "-noF",
        "-noI",
        "-nopad",
    ]))?;
    let mut bytes = fs::read(squashfs)?;
    ensure!(bytes.len() <= PARTITION, "boot image of {} bytes", bytes.len());
    bytes.resize(PARTITION, 0);
    Ok(bytes)
}

/// As [`Machine::boot_at`] for any number of states. As many machines run at once as there are
/// processors.
pub fn boot_all(
    grub_cfg: &str,
    images: [BootImage; 3],
    states: &[EnvFiles],
    minute: Option<u8>,
) -> Result<Vec<Outcome>> {
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(states.len().div_ceil(Machine::STATES));
    let share = states.len().div_ceil(workers.max(1)).max(1);
    std::thread::scope(|scope| {
        let work = |part| {
            let machine = Machine::new(grub_cfg, images)?;
            let mut outcomes = Vec::new();
            for batch in <[EnvFiles]>::chunks(part, Machine::STATES) {
                outcomes.extend(machine.boot_at(batch, minute)?);
            }
            anyhow::Ok(outcomes)
        };
        let threads: Vec<_> =
            states.chunks(share).map(|part| scope.spawn(move || work(part))).collect();
        let mut outcomes = Vec::with_capacity(states.len());
        for thread in threads {
            outcomes.extend(thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??);
        }
        Ok(outcomes)
    })
}

fn run(command: &mut Command) -> Result<()> {
    // sfdisk and mkfs.vfat are not on an ordinary user's path.
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    let out = command.output().with_context(|| format!("{command:?} does not start"))?;
    if !out.status.success() {
        bail!("{command:?} failed: {}", tail(&String::from_utf8_lossy(&out.stderr)));
    }
    Ok(())
}

pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
