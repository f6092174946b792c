//! Programs of the build host.
//!
//! The callers give the arguments. The error for a missing program names its Debian package.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ImageError;

/// A program, the Debian package that has it, and its purpose.
pub(crate) struct HostTool {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    pub(crate) purpose: &'static str,
}

impl HostTool {
    /// Runs the program with these arguments and this environment. The program inherits only
    /// `PATH`: a person's own settings must not change the bytes of an image.
    pub(crate) fn run(&self, args: &[&OsStr], env: &[(&str, &str)]) -> Result<(), ImageError> {
        self.run_program(&self.find()?, &[], args, env)
    }

    /// Runs the program of another Debian system, whose root is the folder `root`, with that
    /// system's libraries. It need not be the release of the build host.
    pub(crate) fn run_in(&self, root: &Path, args: &[&OsStr]) -> Result<(), ImageError> {
        let program = root.join("usr/bin").join(self.name);
        // Debian 12 and older have these folders in the root itself.
        let find = |name: &str| {
            let inner = root.join("usr").join(name);
            if inner.exists() { inner } else { root.join(name) }
        };
        let loader = find("lib64/ld-linux-x86-64.so.2");
        for (path, package) in [(&program, self.package), (&loader, "libc6")] {
            require_file(path, self.purpose, package)?;
        }
        let mut libraries = root.join("usr/lib/x86_64-linux-gnu").into_os_string();
        libraries.push(":");
        libraries.push(root.join("lib/x86_64-linux-gnu"));
        let words = [OsStr::new("--library-path"), libraries.as_ref(), program.as_ref()];
        self.run_program(&loader, &words, args, &[])
    }

    fn run_program(
        &self,
        program: &Path,
        before: &[&OsStr],
        args: &[&OsStr],
        env: &[(&str, &str)],
    ) -> Result<(), ImageError> {
        let mut command = Command::new(program);
        command.args(before).args(args).env_clear().env("PATH", search_path()).env("LC_ALL", "C");
        command.envs(env.iter().copied()).stdin(Stdio::null());
        let output = command.output().map_err(ImageError::io("run", program))?;
        if output.status.success() {
            return Ok(());
        }
        Err(ImageError::ToolFailed {
            purpose: self.purpose,
            command: std::iter::once(OsStr::new(self.name))
                .chain(args.iter().copied())
                .map(OsStr::to_string_lossy)
                .collect::<Vec<_>>()
                .join(" "),
            outcome: output.status.to_string(),
            stderr: last_line(&output.stderr),
        })
    }

    fn find(&self) -> Result<PathBuf, ImageError> {
        std::env::split_paths(&search_path())
            .map(|folder| folder.join(self.name))
            .find(|path| path.is_file())
            .ok_or_else(|| ImageError::MissingTool {
                name: self.name.to_owned(),
                purpose: self.purpose,
                package: self.package,
            })
    }
}

/// Returns `PATH` and the folders that Debian leaves out of an ordinary user's `PATH`. mke2fs lies
/// in one of them.
fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(if path.is_empty() { "/usr/bin:/usr/sbin:/sbin" } else { ":/usr/sbin:/sbin" });
    path
}

/// Refuses if a file of a package is not there.
pub(crate) fn require_file(
    path: &Path,
    purpose: &'static str,
    package: &'static str,
) -> Result<(), ImageError> {
    if path.is_file() {
        return Ok(());
    }
    Err(ImageError::MissingTool { name: path.display().to_string(), purpose, package })
}

fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("the program printed nothing");
    line.trim().to_owned()
}
