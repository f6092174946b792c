//! Fetches what `download` actions name, before anything is built.
//!
//! apt's own downloader knows the host's proxies, certificates and transports.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::host::cache::hex;
use crate::host::tool;
use crate::recipe::{Archive, Download, Place};

/// Fetches a file into a folder of its own below `dir`. Returns the file, or the folder that it was
/// unpacked to.
///
/// # Errors
/// The file cannot be fetched, has another sum than the recipe says, or cannot be unpacked.
pub(in crate::bundling::rootfs) fn fetch(
    download: &Download,
    place: &Place,
    dir: &Path,
) -> Result<PathBuf> {
    let dir = dir.join(format!("download-{}", hex(&Sha256::digest(&download.name)[..4])));
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let file = dir.join(&download.filename);
    let mut helper = tool::command("/usr/lib/apt/apt-helper");
    tool::run(helper.arg("download-file").arg(&download.url).arg(&file))
        .with_context(|| place.error(format_args!("fetching {}", download.url)))?;
    let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let sum = hex(&Sha256::digest(&bytes));
    if let Some(wanted) = download.sha256.as_ref().filter(|wanted| **wanted != sum) {
        return Err(place
            .error(format_args!(
                "{} has the SHA-256 sum {sum}, and the recipe wants {wanted}",
                download.url
            ))
            .into());
    }
    let Some(archive) = download.unpack else { return Ok(file) };
    let folder = dir.join(format!("{}.d", download.filename));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut command = match archive {
        Archive::Tar(compression) => {
            let mut tar = tool::command("tar");
            tar.args(["-x", "--no-same-owner", "--no-same-permissions", "-C"]).arg(&folder);
            tar.args(compression.map(|compression| format!("--{}", compression.program)));
            tar.arg("-f").arg(&file);
            tar
        }
        Archive::Zip => {
            let mut unzip = tool::command("unzip");
            unzip.args(["-q", "-o"]).arg(&file).arg("-d").arg(&folder);
            unzip
        }
        Archive::Deb => {
            let mut dpkg = tool::command("dpkg-deb");
            dpkg.arg("-x").arg(&file).arg(&folder);
            dpkg
        }
    };
    tool::run(&mut command)
        .with_context(|| place.error(format_args!("unpacking {}", file.display())))?;
    Ok(folder)
}
