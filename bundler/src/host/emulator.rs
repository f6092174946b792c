//! Runs programs of another architecture: qemu-user, as the kernel's binfmt_misc starts it.
//!
//! Where the host has registered qemu-user, nothing is to do. Otherwise an ordinary user's build
//! registers it in its own user namespace, which ends with the build (Linux 6.7 and later). The
//! kernel keeps the program open, so the root filesystem does not need it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::tool::{self, ToolError};

/// Where the kernel shows what is registered.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// For a shell in a new user namespace: the line to register, then a command.
const REGISTER: &str = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc &&
    printf %s \"$1\" >/proc/sys/fs/binfmt_misc/register && shift && exec \"$@\"";

/// Debian's architectures: qemu's name, bits, the machine of the ELF header, and whether its
/// numbers have the most significant byte first.
const ARCHITECTURES: &[(&str, &str, u8, u16, bool)] = &[
    ("amd64", "x86_64", 64, 0x3e, false),
    ("arm64", "aarch64", 64, 0xb7, false),
    ("armel", "arm", 32, 0x28, false),
    ("armhf", "arm", 32, 0x28, false),
    ("i386", "i386", 32, 0x03, false),
    ("loong64", "loongarch64", 64, 0x102, false),
    ("mips64el", "mips64el", 64, 0x08, false),
    ("mipsel", "mipsel", 32, 0x08, false),
    ("ppc64el", "ppc64le", 64, 0x15, false),
    ("riscv64", "riscv64", 64, 0xf3, false),
    ("s390x", "s390x", 64, 0x16, true),
];

/// An emulator that a build registers for itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Emulator {
    /// The line for the kernel (its Documentation/admin-guide/binfmt-misc.rst).
    line: String,
}

impl Emulator {
    /// Returns the words that begin a command in a new user namespace.
    #[must_use]
    pub fn words(&self) -> [&str; 5] {
        ["sh", "-c", REGISTER, "sh", &self.line]
    }
}

/// Returns Debian's name of the host's architecture.
fn host() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Returns whether the host's processor runs another architecture's programs.
#[must_use]
pub fn is_foreign(architecture: &str) -> bool {
    host() != architecture && !(host() == "amd64" && architecture == "i386")
}

/// Returns the emulator that a build must register. `None`: the host runs such programs already.
///
/// # Errors
/// One line says why the host cannot run them, and the remedy.
pub fn needed(architecture: &str, is_root: bool) -> Result<Option<Emulator>, ToolError> {
    if !is_foreign(architecture) {
        return Ok(None);
    }
    let found = ARCHITECTURES.iter().find(|(name, ..)| *name == architecture);
    let &(_, qemu, bits, machine, big) = found.ok_or_else(|| {
        ToolError(format!("this host ({}) cannot run programs of {architecture}", host()))
    })?;
    let ending = format!("-{qemu}");
    let registered = std::fs::read_dir(REGISTERED).into_iter().flatten().flatten();
    if registered.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with(&ending)) {
        return Ok(None);
    }
    let why = |why: &str| {
        ToolError(format!(
            "this host ({}) cannot run programs of {architecture}: {why}; install the Debian \
                package qemu-user-static, which registers qemu-{qemu} with the kernel",
            host()
        ))
    };
    let program = find(qemu).ok_or_else(|| why(&format!("there is no static qemu-{qemu}")))?;
    if is_root {
        return Err(why(
            "root's registration would stay on the host (an ordinary user's does not)",
        ));
    }
    if !can_register() {
        return Err(why("its kernel lets no user register an emulator (Linux 6.7 does)"));
    }
    let program = program.to_str().filter(|path| !path.contains(':'));
    let program = program.ok_or_else(|| why("the path of qemu has a colon or is not UTF-8"))?;
    Ok(Some(Emulator { line: line(qemu, program, bits, machine, big) }))
}

/// Returns the line: programs whose ELF header begins so are started by `program`. `O` and `C` let
/// programs have an owner's rights, and `F` opens the emulator now and not in the root filesystem.
fn line(qemu: &str, program: &str, bits: u8, machine: u16, big: bool) -> String {
    let bytes = |bytes: &[u8]| {
        bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<Vec<_>>().concat()
    };
    let number = |number: u16| if big { number.to_be_bytes() } else { number.to_le_bytes() };
    let class = if bits == 64 { 2 } else { 1 };
    let mut magic = vec![0x7f, b'E', b'L', b'F', class, if big { 2 } else { 1 }, 1];
    magic.resize(16, 0);
    magic.extend(number(2)); // ET_EXEC. The mask lets ET_DYN, which is 3, be the same.
    magic.extend(number(machine));
    let mut mask = vec![0xff; 16];
    mask[7] = 0; // the system, which is 0 or 3 for Linux
    mask.extend(number(0xfffe));
    mask.extend([0xff, 0xff]);
    format!(":qemu-{qemu}:M::{}:{}:{program}:OCF", bytes(&magic), bytes(&mask))
}

/// Finds qemu as a static program. Debian 12 calls it `qemu-ARCH-static`, and Debian 13
/// `qemu-ARCH`, which in Debian 12 is not static.
fn find(qemu: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.push("/usr/bin".into());
    [format!("qemu-{qemu}-static"), format!("qemu-{qemu}")]
        .iter()
        .flat_map(|name| dirs.iter().map(move |dir| dir.join(name)))
        .find(|path| is_static(path))
}

/// Returns whether a program of 64 bits has no interpreter of its own (PT_INTERP).
fn is_static(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    let at = |place: usize, len: usize| -> Option<u64> {
        let field = bytes.get(place..place.checked_add(len)?)?;
        Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let interpreter = || -> Option<bool> {
        let (start, size, count) = (at(32, 8)?, at(54, 2)?, at(56, 2)?);
        let mut has = false;
        for index in 0..count {
            has |= at(usize::try_from(start + index * size).ok()?, 4)? == 3;
        }
        Some(has)
    };
    bytes.starts_with(b"\x7fELF\x02\x01") && interpreter() == Some(false)
}

/// Tries whether a user namespace has a binfmt_misc of its own.
fn can_register() -> bool {
    let mut command: Command = tool::command("unshare");
    let script = format!("mount -t binfmt_misc binfmt_misc {REGISTERED}");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    tool::run(&mut command).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_for_the_kernel_is_that_of_qemus_own_script() {
        let magic =
            r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
        let mask =
            r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
        assert_eq!(
            line("aarch64", "/usr/bin/q", 64, 0xb7, false),
            format!(":qemu-aarch64:M::{magic}:{mask}:/usr/bin/q:OCF")
        );
        let big = line("s390x", "/q", 64, 0x16, true);
        assert!(
            big.contains(r"\x00\x02\x00\x16:") && big.contains(r"\xff\xfe\xff\xff:/q"),
            "{big}"
        );
    }

    #[test]
    fn what_the_processor_runs_needs_no_emulator() {
        assert_eq!(needed(host(), false), Ok(None));
        let error = needed("pdp11", false).unwrap_err();
        assert!(error.0.contains("cannot run programs of pdp11"), "{error}");
    }

    #[test]
    fn a_program_with_an_interpreter_is_not_static() {
        assert!(!is_static(Path::new("/bin/sh")));
        assert!(!is_static(Path::new("/etc/passwd")));
        let mut bytes = [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 57]].concat();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("program");
        std::fs::write(&file, &bytes).unwrap();
        assert!(is_static(&file));
        // One program header, which lies beyond the end.
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        std::fs::write(&file, &bytes).unwrap();
        assert!(!is_static(&file));
    }
}
