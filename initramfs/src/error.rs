//! The errors of making an initramfs.
//!
//! Each message has its remedy. The caller adds only the kernel's version.

/// Why an initramfs cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Two modules have one name.
    #[error("building the initramfs: module {0} is there twice; list it once")]
    Twice(String),
    /// A dependency is not among the modules.
    #[error(
        "building the initramfs: module {module} needs {dependency}, which is not among the \
            modules; add it"
    )]
    Missing {
        /// The module.
        module: String,
        /// The module that it needs.
        dependency: String,
    },
    /// A module is not an ELF file; most likely it is still compressed.
    #[error(
        "building the initramfs: {0} is not an unpacked kernel module (ELF); unpack the .xz, .zst \
            or .gz first"
    )]
    NotElf(String),
    /// A name that the index cannot hold.
    #[error("building the initramfs: module name or alias {0:?} holds white space")]
    Name(String),
    /// newc counts sizes and seconds in 32 bits.
    #[error("building the initramfs: {0} does not fit the 32-bit field of a newc archive")]
    Field(&'static str),
    /// The compressor failed.
    #[error("building the initramfs: compressing it with zstd: {0}")]
    Compress(#[from] std::io::Error),
}
