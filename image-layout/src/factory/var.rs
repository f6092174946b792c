//! The persistent ext4, in a plain file.
//!
//! mke2fs makes it. The list of features is fixed here, because the defaults differ from host to
//! host.

use std::ffi::OsStr;
use std::path::Path;

use uuid::Uuid;

use crate::ImageError;
use crate::factory::host_tool::HostTool;

/// The features, named one by one. The defaults of a release of e2fsprogs and of a host's
/// mke2fs.conf differ, and a filesystem that grows needs `resize_inode` and `64bit`.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,\
                        flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,\
                        metadata_csum";

/// Makes an ext4 of `size` bytes in the new file `path`. The same arguments always give the same
/// bytes.
///
/// `uuid` is the filesystem's UUID, and `hash_seed` salts its directory hashes. `epoch` is in
/// seconds.
pub(crate) fn make(
    path: &Path,
    size: u64,
    uuid: Uuid,
    hash_seed: Uuid,
    epoch: u64,
) -> Result<(), ImageError> {
    let tool =
        HostTool { name: "mke2fs", package: "e2fsprogs", purpose: "make the var filesystem" };
    let epoch = epoch.to_string();
    let uuid = uuid.to_string();
    // mke2fs writes tables and journal now, so that no zeroing runs in the background of a device's
    // first minutes.
    let extended = format!(
        "hash_seed={hash_seed},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    );
    let journal = format!("size={}", (size >> 20).div_ceil(16).clamp(4, 16));
    let blocks = (size / 4096).to_string();
    let args = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-O",
        FEATURES,
        "-b",
        "4096",
        "-I",
        "256",
        "-i",
        "16384",
        "-m",
        "1",
        "-J",
        &journal,
        "-L",
        crate::partition::label::VAR,
        "-U",
        &uuid,
        "-E",
        &extended,
    ]
    .map(OsStr::new);
    let mut args = args.to_vec();
    args.extend([path.as_os_str(), OsStr::new(&blocks)]);
    // e2fsprogs knows SOURCE_DATE_EPOCH since 1.47.1. The other name works before and after.
    let env = [
        ("E2FSPROGS_FAKE_TIME", epoch.as_str()),
        ("SOURCE_DATE_EPOCH", epoch.as_str()),
        ("MKE2FS_CONFIG", "/dev/null"),
    ];
    tool.run(&args, &env)
}
