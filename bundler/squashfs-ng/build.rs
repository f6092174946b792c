//! Declares libsquashfs's functions from the headers of the build host's `libsquashfs-dev`.

use std::path::PathBuf;

const HEADERS: [&str; 10] = [
    "block_processor.h",
    "block_writer.h",
    "compressor.h",
    "dir_writer.h",
    "error.h",
    "frag_table.h",
    "id_table.h",
    "inode.h",
    "meta_writer.h",
    "xattr_writer.h",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut includes =
        "#include <stdlib.h>\n#include <sqfs/io.h>\n#include <sqfs/super.h>\n".to_owned();
    includes.extend(HEADERS.map(|header| format!("#include <sqfs/{header}>\n")));
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("libsquashfs.rs");
    bindgen::builder()
        .header_contents("libsquashfs.h", &includes)
        .allowlist_function("sqfs_.*|calloc")
        .allowlist_type("SQFS_.*")
        .allowlist_var("SQFS_.*")
        .generate()?
        .write_to_file(out)?;
    println!("cargo:rustc-link-lib=squashfs");
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
