//! Converts the factory image to qcow2, the form that virtual machines take.
//!
//! `qemu-img` does the work. The content is that of the raw image.

use std::ffi::OsStr;
use std::path::Path;

use crate::ImageError;
use crate::factory::aside::Aside;
use crate::factory::host_tool::HostTool;

/// Converts the raw image `raw` to a qcow2 (version 3) at `out`, which appears whole or not at all.
///
/// # Errors
/// [`ImageError::MissingTool`] without qemu-img, [`ImageError::ToolFailed`], [`ImageError::Io`].
pub fn convert_to_qcow2(raw: &Path, out: &Path) -> Result<(), ImageError> {
    let tool =
        HostTool { name: "qemu-img", package: "qemu-utils", purpose: "convert the image to qcow2" };
    let aside = Aside::new(out)?;
    let built = aside.path("qcow2");
    let mut args =
        ["convert", "-f", "raw", "-O", "qcow2", "-o", "compat=1.1"].map(OsStr::new).to_vec();
    args.extend([raw.as_os_str(), built.as_os_str()]);
    tool.run(&args, &[])?;
    aside.publish("qcow2")
}
