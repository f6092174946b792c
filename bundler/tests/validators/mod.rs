//! Public validators from the Python registry. tests/setup installs them into Daruma's cache.

use std::path::PathBuf;

/// Returns the path of a validator's program.
pub(crate) fn validator(program: &str) -> PathBuf {
    let folder = match program {
        "pyspdxtools" => "spdx-tools-0.8.5",
        "check-jsonschema" => "check-jsonschema-0.39.0",
        other => panic!("tests/setup does not install {other}"),
    };
    let home = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = home("DARUMA_CACHE")
        .or_else(|| Some(home("XDG_CACHE_HOME")?.join("daruma")))
        .or_else(|| Some(home("HOME")?.join(".cache/daruma")));
    let program = cache.unwrap().join(folder).join("bin").join(program);
    assert!(program.is_file(), "{} is not there; run tests/setup", program.display());
    program
}
